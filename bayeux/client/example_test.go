package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
)

// Example joins a room late: the last hour first, then what comes.
func Example() {
	server := newExampleServer() // stands for "gobelin dev"
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.New(client.Options{URL: server.URL + "/faye"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close(ctx) }()

	arrived := make(chan string, 10)
	show := func(m client.Message) { arrived <- fmt.Sprintf("%s %s", m.Channel, m.Data) }

	past, err := c.Subscribe(ctx, "/chat/room/catchup/1h", show)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Subscribe(ctx, "/chat/room", show); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("from the past:", past.CatchUp().Messages)
	if _, err := c.Publish(ctx, "/chat/room", map[string]string{"text": "hello"}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-arrived)
	fmt.Println(<-arrived)
	// Output:
	// from the past: 1
	// /chat/room/catchup/1h {"text":"earlier"}
	// /chat/room {"text":"hello"}
}
