package bayeuxtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// inbox is what a connection has got and the script has not yet heard.
type inbox struct {
	mu    sync.Mutex
	items []item
}

// item is a frame or body, or an event such as "closed 1000".
type item struct {
	messages []any
	event    string
	begun    bool // a message was taken from it
}

// got adds a frame or body.
func (b *inbox) got(text []byte) {
	v, err := parse(text)
	messages, ok := v.([]any)
	if err != nil || !ok {
		b.happened("not an array: " + string(text))
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, item{messages: messages})
}

// happened adds an event.
func (b *inbox) happened(event string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, item{event: event})
}

// mostShown bounds what is told of a long inbox, in bytes.
const mostShown = 2000

var errNothing = errors.New("nothing came")

func (b *inbox) message() (any, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) == 0 {
		return nil, errNothing
	}
	first := &b.items[0]
	if len(first.messages) == 0 {
		return nil, fmt.Errorf("got %s", first)
	}
	m := first.messages[0]
	first.messages, first.begun = first.messages[1:], true
	if len(first.messages) == 0 {
		b.items = b.items[1:]
	}
	return m, nil
}

func (b *inbox) frame() (any, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) == 0 {
		return nil, errNothing
	}
	first := b.items[0]
	if first.event != "" || first.begun {
		return nil, fmt.Errorf("got %s", &first)
	}
	b.items = b.items[1:]
	return first.messages, nil
}

func (b *inbox) event(want string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) == 0 {
		return errNothing
	}
	if b.items[0].event != want {
		return fmt.Errorf("got %s", &b.items[0])
	}
	b.items = b.items[1:]
	return nil
}

func (b *inbox) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = nil
}

// rest returns what nobody has heard yet, "" if there is nothing.
func (b *inbox) rest() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var texts []string
	for i := range min(len(b.items), 20) {
		texts = append(texts, b.items[i].String())
	}
	text := strings.Join(texts, " ")
	if len(text) > mostShown {
		text = text[:mostShown] + "…"
	}
	return text
}

func (i *item) String() string {
	if i.event != "" {
		return i.event
	}
	return encode(i.messages)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
