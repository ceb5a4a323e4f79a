package broker

import "strconv"

// Size is about how many bytes the page takes as JSON.
func (p HistoryPage) Size() int {
	n := 100
	for _, m := range p.Messages {
		n += 100 + len(m.Channel) + len(m.Data) + len(m.Ext)
	}
	return n
}

// AppendMembers appends the page as members of a JSON object, "messages", "next" and
// "truncated", without the braces. Data stays what was published, byte for byte.
func (p HistoryPage) AppendMembers(b []byte) []byte {
	b = append(b, `"messages":[`...)
	for i, m := range p.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = m.AppendJSON(b)
	}
	b = append(b, `],"next":`...)
	if p.Next == "" {
		b = append(b, "null"...)
	} else {
		b = append(append(append(b, '"'), p.Next...), '"')
	}
	return strconv.AppendBool(append(b, `,"truncated":`...), p.Truncated)
}

// AppendJSON appends the message as a JSON object.
func (m HistoryMessage) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, m.ID...)
	b = append(b, `","time":`...)
	b = strconv.AppendInt(b, m.Time, 10)
	b = append(b, `,"channel":`...)
	// A name outside the grammar was refused, so there is nothing to escape.
	b = append(append(append(b, '"'), m.Channel...), '"')
	b = append(b, `,"data":`...)
	b = append(b, m.Data...)
	if len(m.Ext) > 0 {
		b = append(b, `,"ext":`...)
		b = append(b, m.Ext...)
	}
	return append(b, '}')
}
