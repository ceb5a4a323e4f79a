package api

import (
	"strings"
	"testing"
)

// BenchmarkBatch reads a batch of 100 messages.
func BenchmarkBatch(b *testing.B) {
	a := &api{Options: Options{Batch: 100, Depth: 64}}
	message := `{"object_id":"own","channel":"chat","data":{"text":"a message of the usual length, which is about 128 bytes with its envelope"}}`
	body := []byte(`{"messages":[` + message + strings.Repeat(","+message, 99) + `]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if pubs, err := a.batch(body); err != nil || len(pubs) != 100 {
			b.Fatal(err)
		}
	}
}
