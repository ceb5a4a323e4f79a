package broker

// Error is a refusal over HTTP: "result" is the status with one more digit, as
// product.md §9 lists them, "error" the text.
type Error struct {
	Result int // 4000 bad request, 4001, 4003, 4004, 4012, 4013, 4022, 4029, 5000, 5003, 5004, 5007
	Text   string
}

// Error returns the text sent to the peer.
func (e *Error) Error() string { return e.Text }

// Status returns the HTTP status: 4012 is 412, 5003 is 503; a bad qualifier (4022)
// is a 400.
func (e *Error) Status() int {
	if e.Result == 4022 {
		return 400
	}
	return e.Result/1000*100 + e.Result%100
}
