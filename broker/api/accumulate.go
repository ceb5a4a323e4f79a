package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
)

// accumulateRoutes are the accumulations as their known clients call them
// (product.md §5.1, §6).
var accumulateRoutes = []route{
	{path: "/v1/e/accumulate", form: v1Form, methods: map[string]handler{
		http.MethodPost: accumulate, http.MethodGet: accumulated, http.MethodDelete: clearAccumulation,
	}},
}

const (
	// accumulateBody bounds the body of a post: an entry of 64 KiB and blanks.
	accumulateBody = 80 << 10
	// secondsBelow: a start below it is in seconds; as ms it would lie before March 1973.
	secondsBelow = 100_000_000_000
	// maxStart is beyond any time that a record can have, in ms.
	maxStart = 1<<48 - 1
	// defaultAccumulation is the store of a request that names none (M12).
	defaultAccumulation = "default"
)

// accumulationName reads the name of the store.
func accumulationName(r *http.Request) string {
	if id := r.URL.Query().Get("id"); id != "" {
		return id
	}
	return defaultAccumulation
}

// accumulationChannel is the object a request is about: channel_id, else that of the
// token. What is not the token's own is refused by the broker.
func accumulationChannel(r *http.Request, who *broker.Identity) string {
	if id := r.URL.Query().Get("channel_id"); id != "" || who == nil {
		return id
	}
	return who.ChannelID
}

// accumulate: POST /v1/e/accumulate?id=&channel_id=. The body is JSON whatever its
// Content-Type says, for so its clients send it (M12).
func accumulate(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if who == nil {
		return reply{}, atLeast(broker.RoleViewer, who, "")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, accumulateBody)
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	if err := a.chargePublish(r, who, 1); err != nil {
		return reply{}, err
	}
	name, channel := accumulationName(r), accumulationChannel(r, who)
	var nonce [16]byte
	key, err := a.entryKey(r, who, name, channel, body)
	if err != nil {
		return reply{}, err
	}
	if key != "" {
		nonce = broker.PublicationNonce(who.App.ID, key, 0)
	}
	observed, err := a.service.Accumulate(r.Context(), who, channel, name, body, nonce)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, struct {
		Observed int64 `json:"observed"`
	}{observed}}, nil
}

// entryKey is the Idempotency-Key of an entry, "" without one. It is one user's of one
// channel, so that no viewer can spoil another's.
func (a *api) entryKey(r *http.Request, who *broker.Identity, name, channel string, body []byte) (string, error) {
	path := "/v1/e/accumulate\n" + name + "\n" + channel
	if who.Role < broker.RoleBroadcaster {
		return a.idempotencyKey(r, who, who.OpaqueUserID+"\x00"+who.UserID, path, body)
	}
	return a.idempotencyKey(r, who, "", path, body)
}

// accumulated: GET /v1/e/accumulate?id=&start=|after=&channel_id=&format=. A page of
// entries, the oldest first, or with format ndjson or csv all of them.
func accumulated(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if who == nil {
		return reply{}, atLeast(broker.RoleBroadcaster, who, "")
	}
	q, err := accumulationQuery(r, who)
	if err != nil {
		return reply{}, err
	}
	answer := lines{bare: r.Method == http.MethodHead}
	switch format := r.URL.Query().Get("format"); format {
	case "", "json":
		answer.contentType = "application/json; charset=utf-8"
		answer.each = a.entriesJSON(r, who, q)
	case "ndjson":
		q.Whole = true
		answer.each = a.entriesLines(r, who, q)
	case "csv":
		q.Whole = true
		answer.contentType = "text/csv; charset=utf-8; header=present"
		answer.each = a.entriesCSV(r, who, q)
	default:
		return reply{}, badRequest("format must be json, ndjson or csv")
	}
	return reply{http.StatusOK, answer}, nil
}

// accumulationQuery reads the parameters of a GET. From admin up all channels of the
// application are read unless one is named (M4).
func accumulationQuery(r *http.Request, who *broker.Identity) (broker.AccumulationQuery, error) {
	params := r.URL.Query()
	q := broker.AccumulationQuery{Name: accumulationName(r), ChannelID: params.Get("channel_id"), After: params.Get("after")}
	if who.Role < broker.RoleAdmin {
		q.ChannelID = accumulationChannel(r, who)
		if q.ChannelID == "" {
			return q, atLeast(broker.RoleBroadcaster, who, "")
		}
	}
	// What may not be read is not explained.
	if err := atLeast(broker.RoleBroadcaster, who, q.ChannelID); err != nil {
		return q, err
	}
	switch {
	case params.Has("after") && params.Has("start"):
		return q, badRequest("start and after exclude each other")
	case params.Has("after") && q.After == "":
		return q, badRequest("after must be the cursor of an answer to the same query")
	case q.After != "":
		return q, nil
	}
	start, err := parseStart(params.Get("start"))
	q.Start = start
	return q, err
}

// parseStart reads a time in ms, or in seconds, since 1970 (M6; product.md §2, 1).
func parseStart(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // later than everything
	}
	// One that is too large is not read to its end by strconv.
	if err != nil || strings.Trim(text, "0123456789") != "" {
		return time.Time{}, badRequest("start is required: ms or seconds since 1970, a whole number, 0 or more")
	}
	if n < secondsBelow {
		return time.Unix(n, 0), nil
	}
	return time.UnixMilli(min(n, maxStart)), nil
}

// each writes an answer part by part; see lines.
type each = func(head http.Header, yield func(part []byte) error) error

// entriesJSON writes {"data":[…],"latest","cursor","truncated"} (M9).
func (a *api) entriesJSON(r *http.Request, who *broker.Identity, q broker.AccumulationQuery) each {
	return func(_ http.Header, yield func([]byte) error) error {
		begun := false
		var last []byte // a part is written when it is known what follows
		end, err := a.service.Accumulated(r.Context(), who, q, func(entries []catchup.Entry) error {
			if last != nil {
				if err := yield(last); err != nil {
					return err
				}
			}
			last = make([]byte, 0, entriesSize(entries)+200)
			if !begun && len(last) == 0 {
				last = append(last, `{"data":[`...)
			}
			for _, e := range entries {
				if begun {
					last = append(last, ',')
				}
				begun = true
				last = e.AppendJSON(last)
			}
			return nil
		})
		if err != nil {
			return err
		}
		last = append(last, `],"latest":`...)
		last = strconv.AppendInt(last, end.Latest, 10)
		last = append(append(append(last, `,"cursor":"`...), end.Cursor...), `","truncated":`...)
		last = append(strconv.AppendBool(last, end.Truncated), '}', '\n')
		return yield(last)
	}
}

// entriesLines writes each entry on a line. A line break in data stands between two
// tokens, and becomes a space.
func (a *api) entriesLines(r *http.Request, who *broker.Identity, q broker.AccumulationQuery) each {
	return func(_ http.Header, yield func([]byte) error) error {
		_, err := a.service.Accumulated(r.Context(), who, q, func(entries []catchup.Entry) error {
			part := make([]byte, 0, entriesSize(entries))
			for _, e := range entries {
				e.Data = onLine(e.Data)
				part = append(e.AppendJSON(part), '\n')
			}
			return yield(part)
		})
		return err
	}
}

// entriesCSV writes each entry as a row below a header.
func (a *api) entriesCSV(r *http.Request, who *broker.Identity, q broker.AccumulationQuery) each {
	return func(head http.Header, yield func([]byte) error) error {
		// The name's letters are safe between quotes.
		head.Set("Content-Disposition", `attachment; filename="`+q.Name+`.csv"`)
		begun := false
		_, err := a.service.Accumulated(r.Context(), who, q, func(entries []catchup.Entry) error {
			part := make([]byte, 0, entriesSize(entries))
			if !begun {
				part, begun = append(part, "observed,channel_id,opaque_user_id,user_id,data\r\n"...), true
			}
			for _, e := range entries {
				giver, err := e.Giver()
				if err != nil {
					return err
				}
				part = strconv.AppendInt(part, e.Observed(), 10)
				for _, cell := range []string{giver.ChannelID, giver.OpaqueUserID, giver.UserID, string(onLine(e.Data))} {
					part = appendCell(append(part, ','), cell)
				}
				part = append(part, '\r', '\n')
			}
			return yield(part)
		})
		if err != nil {
			head.Del("Content-Disposition")
		}
		return err
	}
}

// appendCell appends a cell of CSV in quotes (RFC 4180). What a spreadsheet would take
// for a formula gets an apostrophe before it: ids are made by others.
func appendCell(b []byte, cell string) []byte {
	b = append(b, '"')
	if cell != "" {
		switch cell[0] {
		case '=', '+', '-', '@', '\t', '\r', '\n':
			b = append(b, '\'')
		}
	}
	for i := 0; i < len(cell); i++ {
		if cell[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, cell[i])
	}
	return append(b, '"')
}

func entriesSize(entries []catchup.Entry) int {
	n := 0
	for _, e := range entries {
		n += e.Size() + 1
	}
	return n
}

// clearAccumulation: DELETE /v1/e/accumulate?id=&channel_id= (M17).
func clearAccumulation(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if who == nil {
		return reply{}, atLeast(broker.RoleBroadcaster, who, "")
	}
	if err := a.service.ClearAccumulation(r.Context(), who, accumulationChannel(r, who), accumulationName(r)); err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, map[string]int{"result": 0}}, nil
}

// oneObject reads a body that is one JSON object of any fields; those named are the
// texts that count.
func (a *api) oneObject(body []byte, names ...string) (map[string]string, error) {
	members, err := exact.Members(body, a.Depth)
	if err != nil {
		return nil, a.bodyError("body", err)
	}
	texts := map[string]string{}
	for _, name := range names {
		if texts[name], _, err = fields(members).text(name); err != nil {
			return nil, err
		}
	}
	return texts, nil
}
