package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
)

// A remote call (bayeux-cometd.md §2.10) is a publish to /service/<target>; its answer
// is for the caller alone and goes back on the connection that the call came by. So it
// needs no session that lives here, and nobody else can hear it.
const (
	// callWait bounds the time for one call.
	callWait = 5 * time.Second
	// callPage is how many messages a page of history has unless the call says.
	callPage = 100
	// callMost bounds them.
	callMost = 1000
)

// caller is who makes a call, and what it says.
type caller struct {
	asker
	m       *bayeux.Message
	members []exact.Member
}

// services are the targets of remote calls, by name. What a target is not given it
// refuses: a member that it does not know is a mistake that must not pass for something
// else.
var services = map[string]struct {
	members []string
	answer  func(*Broker, context.Context, *caller) ([]byte, error)
}{
	"history":  {[]string{"channel", "since", "after", "before", "limit"}, (*Broker).callHistory},
	"data":     {[]string{"channel", "set"}, (*Broker).callData},
	"presence": {[]string{"channel"}, (*Broker).callPresence},
	"viewers":  {[]string{"channel"}, (*Broker).callViewers},
}

// Services returns the names of the targets of remote calls, sorted.
func Services() []string {
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// service returns the target of a channel below /service; ok is false for others.
func service(channel string) (name string, ok bool) { return strings.CutPrefix(channel, "/service/") }

// call carries out a remote call. One to a target that nobody knows is acknowledged and
// goes nowhere, as with other brokers.
func (b *Broker) call(ctx context.Context, m *bayeux.Message, a asker) (bayeux.Ack, error) {
	name, _ := service(m.ChannelText)
	s, there := services[name]
	switch {
	case !there:
		return bayeux.Ack{}, nil
	case !slices.Contains(b.opt.Services, name):
		b.metrics.refused("call").Inc()
		return bayeux.Ack{}, &bayeux.Error{Code: 404, Args: []string{m.ChannelText}, Text: "This service is switched off"}
	}
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	c := &caller{asker: a, m: m}
	var err error
	if c.members, err = exact.Members(m.Data, b.limits().Depth); err != nil {
		err = &Error{Result: 4000, Text: "data must be a JSON object with channel"}
	}
	for _, member := range c.members {
		if !slices.Contains(s.members, member.Name) {
			err = &Error{Result: 4000, Text: "data may have " + strings.Join(s.members, " ")}
		}
	}
	var data []byte
	if err == nil {
		data, err = s.answer(b, ctx, c)
	}
	if err != nil {
		b.metrics.refused("call").Inc()
		return bayeux.Ack{}, b.callRefusal(err, m.ChannelText)
	}
	b.metrics.called(name).Inc()
	return bayeux.Ack{Data: data}, nil
}

// callRefusal says over Bayeux why a call failed.
func (b *Broker) callRefusal(err error, channel string) error {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return storeRefusal(err, b, "call")
	}
	code := refusal.Status()
	if code == 401 {
		code = 403 // clients take a 401 for an unknown session (product.md §3)
	}
	return &bayeux.Error{Code: code, Args: []string{channel}, Text: speakable(refusal.Text)}
}

// speakable leaves out of a text what Faye's grammar of errors has not.
func speakable(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return r == ' ' || r != '-' && r != '_' && r != '/' && r != '.' && r != '*' && !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	}), " ")
}

// text returns a member that is a string, "" if it is not there.
func (c *caller) text(name string) (string, error) {
	for _, m := range c.members {
		if m.Name != name {
			continue
		}
		s, err := exact.Text(m.Value)
		if err != nil || s == "" {
			return "", &Error{Result: 4000, Text: name + " must be a text that is not empty"}
		}
		return s, nil
	}
	return "", nil
}

// value returns the text of a member's value, nil if it is not there.
func (c *caller) value(name string) []byte {
	for _, m := range c.members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// channel returns the channel that a call is about, which must be plain.
func (c *caller) channel() (channels.Name, error) {
	text, err := c.text("channel")
	if err != nil {
		return channels.Name{}, err
	}
	if text == "" {
		return channels.Name{}, &Error{Result: 4000, Text: "channel is required"}
	}
	name, err := channels.Parse(text)
	if err != nil || catchup.Reserved(name) {
		return channels.Name{}, &Error{Result: 4000, Text: "channel must be the whole name of a plain channel"}
	}
	return name, nil
}

// callHistory answers with a page of a channel's history, to whom might catch up on it:
// {"channel","since"|"after"|"before","limit"} → {"messages":[{"id","time","channel",
// "data"[,"ext"]}],"next","truncated"}, as over HTTP (decided.md 25).
func (b *Broker) callHistory(ctx context.Context, c *caller) ([]byte, error) {
	name, err := c.channel()
	if err != nil {
		return nil, err
	}
	q := HistoryQuery{Channel: name.String(), Limit: callPage}
	asked := 0
	for member, field := range map[string]*string{"since": &q.Since, "after": &q.After, "before": &q.Before} {
		if *field, err = c.text(member); err != nil {
			return nil, err
		}
		if *field != "" {
			asked++
		}
	}
	if asked > 1 {
		return nil, &Error{Result: 4000, Text: "only one of since after and before can be given"}
	}
	if limit := c.value("limit"); limit != nil {
		n, err := exact.Int(limit)
		if err != nil || n < 1 || n > callMost {
			return nil, &Error{Result: 4000, Text: "limit must be 1 to " + strconv.Itoa(callMost)}
		}
		q.Limit = int(n)
	}
	t, err := b.catchupTarget(ctx, name, catchup.Interval{}, name.String(), c.asker)
	if err != nil {
		return nil, err
	}
	page, err := b.historyPage(ctx, t, q)
	if err != nil {
		return nil, err
	}
	return append(page.AppendMembers([]byte{'{'}), '}'), nil
}

// callData answers with a document of shared data (product.md §7), after changing it
// where set says how: {"channel"[,"set"]} → {"version","data"[,"conf_num"]}. channel is
// /R/data/<scope>, with the rights of a subscription and, for set, of a publish.
func (b *Broker) callData(ctx context.Context, c *caller) ([]byte, error) {
	name, err := c.channel()
	if err != nil {
		return nil, err
	}
	t, err := b.listen(ctx, name.Pattern(), c.asker)
	if err != nil {
		return nil, err
	}
	if t.kind.scope == "" {
		return nil, &Error{Result: 4004, Text: "channel is not one of data such as /R/data/room"}
	}
	if set := c.value("set"); set != nil {
		if t, err = b.publication(ctx, name, c.asker, true); err != nil {
			return nil, err
		}
		var k known // a call that comes twice changes once, whichever nodes it comes to
		if len(c.m.ID) > 0 && c.m.ClientID != "" {
			k.change, k.maybe = markOf(c.m.ClientID, c.m).tag(), true
		}
		change := *c.m
		change.Channel, change.ChannelText, change.Data = name, name.String(), set
		if _, err := b.publishDocument(ctx, &t, &change, c.asker, k); err != nil {
			return nil, err
		}
	}
	of, err := b.documentOf(ctx, &t)
	if err != nil {
		return nil, err
	}
	doc, err := b.documents.Read(ctx, of)
	if err != nil {
		return nil, err
	}
	answer := append([]byte(`{"version":`), strconv.FormatUint(doc.Version, 10)...)
	answer = append(append(answer, `,"data":`...), doc.Object()...)
	if of.ConfNum != "" {
		answer = append(append(append(answer, `,"conf_num":"`...), of.ConfNum...), '"')
	}
	return append(answer, '}'), nil
}

// callPresence answers with who listens to an object, to whom may subscribe to that:
// {"channel":"/R/presence"} → {"count"[,"members"]} (decided.md 26).
func (b *Broker) callPresence(ctx context.Context, c *caller) ([]byte, error) {
	name, err := c.channel()
	if err != nil {
		return nil, err
	}
	t, err := b.listen(ctx, name.Pattern(), c.asker)
	if err != nil {
		return nil, err
	}
	if t.kind.name != presenceKind || t.object == nil {
		return nil, &Error{Result: 4004, Text: "channel must be /R/presence"}
	}
	p, err := b.presence.read(ctx, feedOf(t.object))
	if err != nil {
		return nil, err
	}
	answer := struct {
		Count   int       `json:"count"`
		Members *[]Member `json:"members,omitempty"`
	}{Count: p.Count}
	if p.Members != nil {
		answer.Members = &p.Members
	}
	return json.Marshal(answer)
}

// callViewers answers with how many view an object, as of the last sample, to whom may
// subscribe to that: {"channel":"/R/stats/live"} → {"time","viewers"}, as on the channel
// (product.md §8); time is null where nobody was seen as far back as that is kept.
func (b *Broker) callViewers(ctx context.Context, c *caller) ([]byte, error) {
	name, err := c.channel()
	if err != nil {
		return nil, err
	}
	t, err := b.catchupTarget(ctx, name, catchup.Interval{}, name.String(), c.asker)
	if err != nil {
		return nil, err
	}
	if t.object == nil || t.name.String() != "/"+statsKind+"/"+statsLive {
		return nil, &Error{Result: 4004, Text: "channel must be /R/stats/live"}
	}
	page, err := b.historyPage(ctx, t, HistoryQuery{Channel: name.String(), Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(page.Messages) == 0 {
		return []byte(`{"time":null,"viewers":0}`), nil
	}
	return page.Messages[0].Data, nil
}
