package bayeux

import "encoding/binary"

// The frames that a server writes over a WebSocket (RFC 6455 §5.2): whole, not masked.
const (
	frameText     = 0x80 | 1
	framePing     = 0x80 | 9
	framePong     = 0x80 | 10
	frameDeflated = frameText | 0x40 // RSV1: compressed (RFC 7692 §6)
	// mostHead is what the longest head takes.
	mostHead = 10
)

// frameRoom returns how much is left free before a payload of about n bytes, so that
// framed finds room for the head.
func frameRoom(n int) int {
	if n < 1<<15 { // far enough from where the head grows for what is escaped in names
		return 4
	}
	return mostHead
}

// framed returns the frame of a kind whose payload is b[room:]. It is in the memory of b,
// if there is room for its head.
func framed(b []byte, room int, kind byte) []byte {
	var head [mostHead]byte
	h := len(appendHead(head[:0], kind, len(b)-room))
	if h > room {
		return append(append(make([]byte, 0, h+len(b)-room), head[:h]...), b[room:]...)
	}
	copy(b[room-h:], head[:h])
	return b[room-h:]
}

// appendHead appends the head of a frame with n bytes.
func appendHead(b []byte, kind byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, kind, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, kind, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, kind, 127), uint64(n))
}

// headLen returns how long the head of a frame is.
func headLen(frame []byte) int {
	switch frame[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// appendControl appends a control frame, of at most 125 bytes.
func appendControl(b []byte, kind byte, payload string) []byte {
	return append(appendHead(b, kind, len(payload)), payload...)
}
