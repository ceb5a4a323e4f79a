package channels

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The vectors of security.md §1.9.
const (
	r1 = "01807cf168cd66dae96e9bd900e4b07312260f49"
	r2 = "03807cf168cd66dae9212d031c035d14f549d4ec"
	r3 = "11807cf168cd66dae9c70d0392a7b9f4cf595b25"
	r4 = "018831c3edb180428b3db76d4e3d8e2dd000c9e4"
	r5 = "05807cf168cd66dae95c0cbdb0950bccfdb7cac2"
	r6 = "013c24dbe3cf1a62c5eefe4600a759b77f2ab164"
	r7 = "01f2474281991332c9c58a39e27158339f5e3456"
)

var vectorTime = time.Unix(1700000000, 0)

// vectorIdentity and vectorKey are the secrets of the vectors.
var vectorIdentity = []byte(strings.Repeat("\x11", 32))

func vectorKey(kid uint8, from byte, sign bool) RootKey {
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = from + byte(i)
	}
	return RootKey{KID: kid, Secret: secret, Sign: sign}
}

// vectorRing holds both keys of the vectors and signs with one of them.
func vectorRing(t testing.TB, sign uint8) *Keyring {
	t.Helper()
	k, err := NewKeyring(vectorIdentity, []RootKey{
		vectorKey(0, 0x00, sign == 0), vectorKey(1, 0x80, sign == 1),
	}, nil)
	require.NoError(t, err)
	return k
}

func TestDerivedKeys(t *testing.T) {
	f := func(secret []byte, label, want string) {
		t.Helper()
		require.Equal(t, want, hex.EncodeToString(derive(secret, label)))
	}
	f(vectorIdentity, "gobelin root oid v1", "ae9be095b0bf9fa672a03945fa89b18bdfd7ffe2c8569fad10fe8faebd29c378")
	f(vectorKey(0, 0x00, true).Secret, "gobelin root tag v1", "3067cc1da1e437552c9804d947360b97fef6d3b6753126e94f2c61800cd299ec")
	f(vectorKey(1, 0x80, true).Secret, "gobelin root tag v1", "352e62da21cbe2ca03dcb700f18cff890b469e4703c8c509a3fe6b180f70270e")
}

func TestVectors(t *testing.T) {
	k := vectorRing(t, 0)
	require.Equal(t, "807cf168cd66dae9", k.OID(7, "live-123", 0).String())
	f := func(sign uint8, app uint32, object string, n uint16, class Class, want string) {
		t.Helper()
		k := vectorRing(t, sign)
		oid := k.OID(app, object, n)
		require.Equal(t, want, k.Root(oid, class, vectorTime))
		v, ok := k.Verify(want, vectorTime)
		require.True(t, ok)
		require.Equal(t, Verified{KID: sign, Class: class, OID: oid}, v)
		v, ok = vectorRing(t, 1-sign).Verify(want, vectorTime)
		require.True(t, ok, "the other key signs, this one still verifies")
		require.Equal(t, oid, v.OID)
	}
	f(0, 7, "live-123", 0, ClassView, r1)
	f(0, 7, "live-123", 0, ClassControl, r2)
	f(1, 7, "live-123", 0, ClassView, r3)
	f(0, 7, "live-123", 1, ClassView, r4)
	f(0, 7, "live-123", 0, ClassDaily, r5)
	f(0, 8, "live-123", 0, ClassView, r6)
	f(0, 7, "vidéo/42", 0, ClassView, r7)
}

func TestVerifyRefuses(t *testing.T) {
	k := vectorRing(t, 0)
	f := func(root, why string) {
		t.Helper()
		v, ok := k.Verify(root, vectorTime)
		require.False(t, ok, why)
		require.Equal(t, Verified{}, v, why)
	}
	changes := 0
	for i := range r1 {
		for _, c := range "0123456789abcdef" {
			if byte(c) == r1[i] {
				continue
			}
			f(r1[:i]+string(c)+r1[i+1:], "one digit changed")
			changes++
		}
	}
	require.Equal(t, 600, changes)
	f(strings.ToUpper(r1), "upper case")
	for i, c := range r1 {
		if c >= 'a' {
			f(r1[:i]+strings.ToUpper(string(c))+r1[i+1:], "one letter in upper case")
		}
	}
	f(r1[:39], "39 digits")
	f(r1+"0", "41 digits")
	f("", "nothing")
	f("/"+r1[:39], "a slash")
	f(r1[:39]+"\n", "a line end")
	f("03"+r1[2:], "class raised")
	f("21"+r1[2:], "unknown key")
	f("00"+r1[2:], "class 0")
	f(r1[:18]+r2[18:], "head of R1, tag of R2")
	f(r2[:18]+r1[18:], "head of R2, tag of R1")
	f(r1[:2]+r6[2:18]+r1[18:], "another application's object")

	rotated, err := NewKeyring(vectorIdentity, []RootKey{vectorKey(1, 0x80, true)}, nil)
	require.NoError(t, err)
	_, ok := rotated.Verify(r1, vectorTime)
	require.False(t, ok, "kid 0 left the ring")
	_, ok = rotated.Verify(r3, vectorTime)
	require.True(t, ok, "kid 1 stays")
}

// TestClassZero: a tag made with the right key over a class that is never valid.
func TestClassZero(t *testing.T) {
	k := vectorRing(t, 0)
	require.Empty(t, k.Root(OID{}, 0, vectorTime))
	require.Empty(t, k.Root(OID{}, 16, vectorTime))
	raw := make([]byte, rootSize)
	w := k.keys[0].take()
	copy(raw[headSize:], w.tag(raw[:headSize], 0))
	_, ok := k.Verify(hex.EncodeToString(raw), vectorTime)
	require.False(t, ok)
}

// TestUnknownKeyWithDummy: the key that does the work of a missing one must not
// let in what was signed with it.
func TestUnknownKeyWithDummy(t *testing.T) {
	k := vectorRing(t, 0)
	raw := make([]byte, rootSize)
	raw[0] = 0x21
	w := k.dummy.take()
	copy(raw[headSize:], w.tag(raw[:headSize], 0))
	_, ok := k.Verify(hex.EncodeToString(raw), vectorTime)
	require.False(t, ok)
}

func TestExpiry(t *testing.T) {
	k := vectorRing(t, 0)
	f := func(root string, unix int64, want bool) {
		t.Helper()
		_, ok := k.Verify(root, time.Unix(unix, 0))
		require.Equal(t, want, ok, "at %d", unix)
	}
	f(r5, 1699919999, false)
	f(r5, 1699920000, true)
	f(r5, 1700000000, true)
	f(r5, 1700006400, true) // its period is over, the grace begins
	f(r5, 1700092799, true)
	f(r5, 1700092800, false)
	f(r1, 0, true)
	f(r1, 1<<40, true)

	first := k.Root(OID{1}, ClassDaily, time.Unix(0, 0))
	f(first, -1, true) // a clock before 1970 is taken for 1970
	f(first, 0, true)
	f(first, 2*86400-1, true)
	f(first, 2*86400, false)
}

func TestPeriods(t *testing.T) {
	keys := []RootKey{vectorKey(0, 0, true)}
	k, err := NewKeyring(vectorIdentity, keys, map[Class]time.Duration{7: time.Minute})
	require.NoError(t, err)
	at := time.Unix(6000, 0)
	f := func(class Class, after time.Duration, want bool) {
		t.Helper()
		_, ok := k.Verify(k.Root(OID{1}, class, at), at.Add(after))
		require.Equal(t, want, ok, "%v after %v", class, after)
	}
	f(7, 119*time.Second, true)
	f(7, 120*time.Second, false)
	f(ClassDaily, 48*time.Hour, false) // not named: still a day
	f(ClassView, 1e6*time.Hour, true)

	k, err = NewKeyring(vectorIdentity, keys, map[Class]time.Duration{ClassDaily: 0})
	require.NoError(t, err)
	f(ClassDaily, 1e6*time.Hour, true)
}

func TestNewKeyringFaults(t *testing.T) {
	k0, k1 := vectorKey(0, 0, true), vectorKey(1, 0x80, false)
	f := func(identity []byte, keys []RootKey, periods map[Class]time.Duration, want ...string) {
		t.Helper()
		k, err := NewKeyring(identity, keys, periods)
		require.Error(t, err)
		require.Nil(t, k)
		for _, w := range want {
			require.ErrorContains(t, err, "channels: keyring: "+w)
		}
		require.Equal(t, len(want), len(strings.Split(err.Error(), "\n")), err.Error())
	}
	f(nil, []RootKey{k0}, nil, "empty identity secret")
	f(vectorIdentity, nil, nil, "no key")
	f(vectorIdentity, []RootKey{k1}, nil, "0 keys sign")
	f(vectorIdentity, []RootKey{k0, vectorKey(1, 0x80, true)}, nil, "2 keys sign")
	f(vectorIdentity, []RootKey{k0, vectorKey(0, 0x80, false)}, nil, "key 0: there twice")
	f(vectorIdentity, []RootKey{k0, vectorKey(16, 0x80, false)}, nil, "key 16: above 15")
	f(vectorIdentity, []RootKey{k0, {KID: 2}}, nil, "key 2: empty secret")
	f(vectorIdentity, []RootKey{k0}, map[Class]time.Duration{0: time.Hour}, "class 0: period 1h0m0s")
	f(vectorIdentity, []RootKey{k0}, map[Class]time.Duration{16: time.Hour}, "class 16: period")
	f(vectorIdentity, []RootKey{k0}, map[Class]time.Duration{7: -time.Hour}, "class 7: period")
	f(vectorIdentity, []RootKey{k0}, map[Class]time.Duration{7: 1500 * time.Millisecond}, "class 7: period")
	f(nil, []RootKey{{KID: 2, Sign: true}, {KID: 99}}, map[Class]time.Duration{0: 0},
		"empty identity", "key 2: empty", "key 99: above", "class 0")
}

// TestSecretsAreNotKept: the caller may wipe its secrets.
func TestSecretsAreNotKept(t *testing.T) {
	identity, key := []byte(strings.Repeat("\x11", 32)), vectorKey(0, 0, true)
	k, err := NewKeyring(identity, []RootKey{key}, nil)
	require.NoError(t, err)
	clear(identity)
	clear(key.Secret)
	require.Equal(t, r1, k.Root(k.OID(7, "live-123", 0), ClassView, vectorTime))
}

// TestRoundTrip: what a ring signs it verifies, and says the same of it; a
// channel whose root it is splits there.
func TestRoundTrip(t *testing.T) {
	k := vectorRing(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		oid := k.OID(rapid.Uint32().Draw(t, "app"), rapid.String().Draw(t, "object"), rapid.Uint16().Draw(t, "n"))
		class := Class(rapid.IntRange(1, 15).Draw(t, "class"))
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0)
		root := k.Root(oid, class, at)
		v, ok := k.Verify(root, at)
		if want := (Verified{KID: 1, Class: class, OID: oid}); !ok || v != want {
			t.Fatalf("%s: %v %v, want %v", root, v, ok, want)
		}
		n := mustName(t, "/"+root+"/x")
		if !IsRoot(n.First()) || n.Tail().String() != "/x" {
			t.Fatalf("%s does not split", n)
		}
	})
}

// TestOIDsDiffer: application, object and counter are told apart though they are
// joined without separators, having fixed lengths.
func TestOIDsDiffer(t *testing.T) {
	k := vectorRing(t, 0)
	seen := map[OID]string{}
	for _, app := range []uint32{0, 1, 256, 1 << 24} {
		for _, object := range []string{"", "\x00", "\x00\x00", "a", "\x01a"} {
			for _, n := range []uint16{0, 1, 256, 'a'} {
				oid, is := k.OID(app, object, n), fmt.Sprintf("%d %q %d", app, object, n)
				require.Empty(t, seen[oid], is)
				seen[oid] = is
			}
		}
	}
}

func TestKeyringConcurrently(t *testing.T) {
	k := vectorRing(t, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				oid := k.OID(uint32(g), "object", uint16(i))
				v, ok := k.Verify(k.Root(oid, ClassDaily, vectorTime), vectorTime)
				if !ok || v.OID != oid {
					t.Errorf("goroutine %d, round %d: %v %v", g, i, v, ok)
				}
				if _, ok := k.Verify("21"+r1[2:], vectorTime); ok {
					t.Error("unknown key passed")
				}
			}
		})
	}
	wg.Wait()
}

func TestIsRoot(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		require.Equal(t, want, IsRoot(s), s)
	}
	f(r1, true)
	f("09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62", true)
	f(strings.Repeat("0", 40), true)
	f(strings.ToUpper(r1), false)
	f(r1[1:], false)
	f(r1+"0", false)
	f("g"+r1[1:], false)
	f("", false)
}

func TestClassString(t *testing.T) {
	f := func(c Class, want string) { t.Helper(); require.Equal(t, want, c.String()) }
	f(ClassView, "view")
	f(ClassGuest, "guest")
	f(ClassControl, "control")
	f(ClassIngest, "ingest")
	f(ClassDaily, "daily")
	f(7, "class 7")
}

func FuzzVerify(f *testing.F) {
	for _, s := range []string{r1, r2, r3, r4, r5, r6, r7, strings.ToUpper(r1), r1[:39], r1 + "0", ""} {
		f.Add(s)
	}
	known := map[string]bool{r1: true, r2: true, r3: true, r4: true, r5: true, r6: true, r7: true}
	k := vectorRing(f, 0)
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := k.Verify(s, vectorTime)
		require.Equal(t, known[s], ok, "%q", s)
		if !ok {
			require.Equal(t, Verified{}, v)
		}
		raw, err := hex.DecodeString(s)
		require.Equal(t, err == nil && len(raw) == 20 && hex.EncodeToString(raw) == s, IsRoot(s), "%q", s)
	})
}

func BenchmarkVerify(b *testing.B) {
	k := vectorRing(b, 0)
	f := func(name, root string, want bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := k.Verify(root, vectorTime); ok != want {
					b.Fatal("wrong answer")
				}
			}
		})
	}
	f("good", r1, true)
	f("daily", r5, true)
	f("forged", r1[:39]+"0", false)
	f("unknown_key", "21"+r1[2:], false)
}

func BenchmarkRoot(b *testing.B) {
	k := vectorRing(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		if k.Root(k.OID(7, "live-123", 0), ClassView, vectorTime) != r1 {
			b.Fatal("wrong root")
		}
	}
}
