package archive

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var content = map[string]int64{"records": 7}

func counted() (map[string]int64, error) { return content, nil }

// sample returns an archive of two files.
func sample(t testing.TB) []byte {
	dir := t.TempDir()
	for name, text := range map[string]string{"000001.sst": "a table", "keys.yaml": "keys: {}"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var b bytes.Buffer
	passed := 0
	end, err := Write(&b, Head{Version: "v1", Made: time.Unix(1e9, 0).UTC()}, []File{
		{Store + "000001.sst", filepath.Join(dir, "000001.sst")}, {Secrets + "keys.yaml", filepath.Join(dir, "keys.yaml")},
	}, counted, func(n int) { passed += n })
	require.NoError(t, err)
	require.EqualValues(t, 15, end.Bytes())
	require.Equal(t, 15, passed)
	return b.Bytes()
}

func TestThereAndBack(t *testing.T) {
	dir := t.TempDir()
	head, end, err := Read(bytes.NewReader(sample(t)), In(dir), nil)
	require.NoError(t, err)
	require.Equal(t, Head{Format: Format, Version: "v1", Made: time.Unix(1e9, 0).UTC()}, head)
	require.Equal(t, content, end.Content)
	text, err := os.ReadFile(filepath.Join(dir, "000001.sst"))
	require.NoError(t, err)
	require.Equal(t, "a table", string(text))
	info, err := os.Stat(filepath.Join(dir, "keys.yaml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	_, _, err = Read(bytes.NewReader(sample(t)), In(dir), nil)
	require.ErrorIs(t, err, os.ErrExist, "nothing is written over")
	_, _, err = Read(bytes.NewReader(sample(t)), Nowhere, nil)
	require.NoError(t, err)
}

// One that ends anywhere before its end, or in which any byte of a file or text is
// another, is refused.
func TestDamage(t *testing.T) {
	whole := sample(t)
	last := bytes.LastIndex(whole, []byte("}"))
	for n := 0; n <= last; n += 13 {
		_, _, err := Read(bytes.NewReader(whole[:n]), Nowhere, nil)
		require.Error(t, err, n)
	}
	for _, text := range []string{"a table", "keys: {}", `"format"`, `"sha256"`, "store/", "end.json"} {
		bad := bytes.Clone(whole)
		bad[bytes.Index(bad, []byte(text))]++
		_, _, err := Read(bytes.NewReader(bad), Nowhere, nil)
		require.Error(t, err, text)
	}
	newer := bytes.Replace(whole, []byte(`{"format":1`), []byte(`{"format":2`), 1)
	_, _, err := Read(bytes.NewReader(newer), Nowhere, nil)
	require.ErrorContains(t, err, `use the version of gobelin that made it ("v1")`)
	_, _, err = Read(bytes.NewReader(whole[:1500]), Nowhere, nil)
	require.ErrorIs(t, err, ErrShort)
	_, _, err = Read(bytes.NewReader([]byte("no archive")), Nowhere, nil)
	require.ErrorIs(t, err, ErrShort)
}

// Names that would leave the folder, or stand for something else than a file.
func TestHostileNames(t *testing.T) {
	f := func(h tar.Header) {
		t.Helper()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		require.NoError(t, writeText(w, headName, Head{Format: Format}))
		for range 2 {
			require.NoError(t, w.WriteHeader(&h))
			_, _ = w.Write(make([]byte, h.Size))
		}
		require.NoError(t, w.Close())
		dir := t.TempDir()
		_, _, err := Read(&b, In(dir), nil)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrShort, h.Name)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.LessOrEqual(t, len(left), 1)
	}
	for _, name := range []string{"../x", "store/../../x", "/etc/x", "store/a/b", "store/.x", "other/x", "x", "store/a\x01"} {
		f(tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o600})
	}
	f(tar.Header{Name: "store/x", Typeflag: tar.TypeReg, Size: 1, Mode: 0o600}) // twice
	f(tar.Header{Name: "store/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})
	f(tar.Header{Name: "store/x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"})
	f(tar.Header{Name: "store/x", Typeflag: tar.TypeDir})
	_, err := Write(&bytes.Buffer{}, Head{}, []File{{"store/../x", "x"}}, counted, nil)
	require.Error(t, err)
	_, err = Write(&bytes.Buffer{}, Head{}, []File{{"store/x", "absent"}}, counted, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// sparse returns an archive of one kilobyte that says of itself to be a terabyte of
// holes.
func sparse(t testing.TB) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, writeText(w, headName, Head{Format: Format}))
	holes := make([]byte, 512) // a map of none: all of it is a hole
	copy(holes, "0\n")
	// The writer knows no holes: it is given names of the same length.
	require.NoError(t, w.WriteHeader(&tar.Header{
		Name: "store/000001.sst", Typeflag: tar.TypeReg, Size: int64(len(holes)), Mode: 0o600, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"XNU.sparse.major": "1", "XNU.sparse.minor": "0", "XNU.sparse.name": "store/000001.sst", "XNU.sparse.realsize": "1099511627776"},
	}))
	_, err := w.Write(holes)
	require.NoError(t, err)
	require.NoError(t, writeText(w, endName, End{}))
	require.NoError(t, w.Close())
	return bytes.ReplaceAll(b.Bytes(), []byte("XNU.sparse"), []byte("GNU.sparse"))
}

// A few bytes must not become a full disk.
func TestHoles(t *testing.T) {
	text := sparse(t)
	plain := tar.NewReader(bytes.NewReader(text))
	_, err := plain.Next()
	require.NoError(t, err)
	h, err := plain.Next()
	require.NoError(t, err)
	require.EqualValues(t, 1<<40, h.Size, "it is what it is for")

	dir := t.TempDir()
	_, _, err = Read(bytes.NewReader(text), In(dir), nil)
	require.ErrorIs(t, err, errDamaged)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A head is not worth the memory that an end may take.
func TestLongHead(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, writeText(w, headName, Head{Format: Format, Version: strings.Repeat("v", maxHead)}))
	require.NoError(t, writeText(w, endName, End{}))
	require.NoError(t, w.Close())
	_, _, err := Read(&b, Nowhere, nil)
	require.ErrorIs(t, err, errDamaged)
}

func FuzzRead(f *testing.F) {
	f.Add(sparse(f))
	whole := sample(f)
	f.Add(whole)
	f.Add(whole[:700])
	f.Fuzz(func(t *testing.T, text []byte) {
		_, end, err := Read(bytes.NewReader(text), Nowhere, nil)
		if err == nil && end.Bytes() < 0 {
			t.Fatal("a length below nothing")
		}
	})
}
