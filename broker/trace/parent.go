package trace

import "encoding/hex"

// parent is what a traceparent says (W3C Trace Context §3.2).
type parent struct {
	trace   [16]byte
	span    [8]byte
	sampled bool
}

// parseParent reads a traceparent. One that is not as it must be is as none: the caller
// then has no say.
func parseParent(text string) (p parent, ok bool) {
	const form = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	if len(text) < len(form) || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return parent{}, false
	}
	var version, flags [1]byte
	for _, part := range []struct {
		into []byte
		from string
	}{{version[:], text[:2]}, {p.trace[:], text[3:35]}, {p.span[:], text[36:52]}, {flags[:], text[53:55]}} {
		if !lowerHex(part.from) {
			return parent{}, false
		}
		if _, err := hex.Decode(part.into, []byte(part.from)); err != nil {
			return parent{}, false
		}
	}
	// A later version may say more after another dash; this one may not, and 255 is none.
	longer := len(text) > len(form)
	if version[0] == 0xff || longer && (version[0] == 0 || text[len(form)] != '-') || p.trace == [16]byte{} || p.span == [8]byte{} {
		return parent{}, false
	}
	p.sampled = flags[0]&1 != 0
	return p, true
}

func lowerHex(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
