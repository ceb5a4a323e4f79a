package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Format is the version of what is written; Read refuses others.
const Format = 1

// Names of what stands first and last, and of the folders of the rest.
const (
	headName = "head.json"
	endName  = "end.json"
	Store    = "store/"
	Secrets  = "secrets/"
)

// Bounds of what is read.
const (
	maxFiles = 1 << 20
	maxHead  = 64 << 10
	maxEnd   = 512 << 20 // it has a line for each file
)

// form is that of a file's name; a store has no folders.
var form = regexp.MustCompile(`^(store|secrets)/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$`)

// Head stands first.
type Head struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program that made it
	Made    time.Time `json:"made"`
}

// End stands last.
type End struct {
	Files []Sum `json:"files"`
	// Content is how much is in the store, by what it is, as whoever writes has counted.
	Content map[string]int64 `json:"content"`
}

// Sum is one file.
type Sum struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes returns how long the files are together.
func (e *End) Bytes() (n int64) {
	for _, f := range e.Files {
		n += f.Size
	}
	return n
}

// File is one to be written: Name begins with Store or Secrets, Path is where it is.
type File struct{ Name, Path string }

// Write writes an archive of files, which must not change meanwhile. content is asked for
// End.Content when they are written. progress hears of bytes as they go, and may be nil.
func Write(w io.Writer, head Head, files []File, content func() (map[string]int64, error), progress func(n int)) (End, error) {
	head.Format = Format
	t := tar.NewWriter(w)
	if err := writeText(t, headName, head); err != nil {
		return End{}, err
	}
	var end End
	for _, f := range files {
		s, err := writeFile(t, f, progress)
		if err != nil {
			return End{}, err
		}
		end.Files = append(end.Files, s)
	}
	var err error
	if end.Content, err = content(); err != nil {
		return End{}, err
	}
	if err := writeText(t, endName, end); err != nil {
		return End{}, err
	}
	return end, t.Close()
}

func writeText(t *tar.Writer, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("archive: %s: %w", name, err)
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		return fmt.Errorf("archive: %s: %w", name, err)
	}
	_, err = t.Write(text)
	return err
}

func writeFile(t *tar.Writer, f File, progress func(int)) (Sum, error) {
	if !form.MatchString(f.Name) {
		return Sum{}, fmt.Errorf("archive: %q cannot be the name of a file", f.Name)
	}
	in, err := os.Open(f.Path)
	if err != nil {
		return Sum{}, fmt.Errorf("archive: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return Sum{}, fmt.Errorf("archive: %w", err)
	}
	if err := t.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o600, Size: info.Size(), Typeflag: tar.TypeReg, ModTime: info.ModTime()}); err != nil {
		return Sum{}, fmt.Errorf("archive: %s: %w", f.Name, err)
	}
	m := &meter{hash: sha256.New(), progress: progress}
	n, err := io.Copy(io.MultiWriter(t, m), io.LimitReader(in, info.Size()))
	if err == nil && n < info.Size() {
		err = errors.New("has become shorter")
	}
	if err != nil {
		return Sum{}, fmt.Errorf("archive: %s: %w", f.Name, err)
	}
	return m.sum(f.Name, n), nil
}

// meter hashes what passes and tells of it.
type meter struct {
	hash     hash.Hash
	progress func(int)
}

func (m *meter) Write(p []byte) (int, error) {
	if m.progress != nil {
		m.progress(len(p))
	}
	return m.hash.Write(p)
}

func (m *meter) sum(name string, size int64) Sum {
	return Sum{Name: name, Size: size, SHA256: hex.EncodeToString(m.hash.Sum(nil))}
}

// errDamaged is told of everything that no writer of ours wrote.
var errDamaged = errors.New("archive: damaged, or no backup of gobelin")

// ErrShort: the end is missing.
var ErrShort = errors.New("archive: breaks off before its end: the backup was not finished")

// Read reads an archive whole and checks it. Files go to place, which is told the name
// and says where; "" reads without writing. They are made new (mode 0600) and are on the
// disk when Read returns. After an error what was written is worth nothing.
func Read(r io.Reader, place func(name string) string, progress func(n int)) (Head, End, error) {
	t := tar.NewReader(r)
	var head Head
	if err := readText(t, headName, &head); err != nil {
		return head, End{}, err
	}
	if head.Format != Format {
		return head, End{}, fmt.Errorf("archive: it has format %d and this program knows %d: use the version of gobelin that made it (%q)", head.Format, Format, head.Version)
	}
	var got []Sum
	seen := map[string]bool{}
	for {
		h, err := next(t)
		if err != nil {
			return head, End{}, err
		}
		if h.Name == endName {
			break
		}
		if !form.MatchString(h.Name) || len(got) == maxFiles || seen[h.Name] {
			return head, End{}, errDamaged
		}
		seen[h.Name] = true
		s, err := readFile(t, h, place(h.Name), progress)
		if err != nil {
			return head, End{}, err
		}
		got = append(got, s)
	}
	var end End
	if err := decode(t, endName, maxEnd, &end); err != nil {
		return head, End{}, err
	}
	if !slices.Equal(got, end.Files) {
		return head, End{}, fmt.Errorf("%w: %s", errDamaged, firstDifference(got, end.Files))
	}
	return head, end, nil
}

// firstDifference names the file that is not what the end says.
func firstDifference(got, want []Sum) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("the checksum of %s is another", got[i].Name)
		}
	}
	return fmt.Sprintf("%d files, its end names %d", len(got), len(want))
}

// next returns the next entry, a plain file.
func next(t *tar.Reader) (*tar.Header, error) {
	h, err := t.Next()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, ErrShort
	case errors.Is(err, tar.ErrHeader):
		return nil, errDamaged
	case err != nil:
		return nil, fmt.Errorf("archive: %w", err)
	case h.Typeflag != tar.TypeReg:
		return nil, errDamaged
	}
	// What is longer than 8 GiB says so in a record. Others are no writer's of ours, and
	// some make terabytes of holes from a few bytes.
	for name := range h.PAXRecords {
		if name != "size" {
			return nil, errDamaged
		}
	}
	return h, nil
}

func readText(t *tar.Reader, name string, v any) error {
	h, err := next(t)
	if err != nil {
		return err
	}
	if h.Name != name {
		return errDamaged
	}
	return decode(t, name, maxHead, v)
}

// decode reads an entry of at most so many bytes; what is longer is no JSON any more.
func decode(t *tar.Reader, name string, most int64, v any) error {
	text, err := io.ReadAll(io.LimitReader(t, most))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrShort
	}
	if err != nil {
		return fmt.Errorf("archive: %s: %w", name, err)
	}
	if json.Unmarshal(text, v) != nil {
		return errDamaged
	}
	return nil
}

func readFile(t *tar.Reader, h *tar.Header, path string, progress func(int)) (s Sum, err error) {
	m := &meter{hash: sha256.New(), progress: progress}
	to := io.Writer(m)
	if path != "" {
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return s, fmt.Errorf("archive: %w", err)
		}
		defer func() {
			if e := errors.Join(out.Sync(), out.Close()); err == nil && e != nil {
				err = fmt.Errorf("archive: %s: %w", h.Name, e)
			}
		}()
		to = io.MultiWriter(out, m)
	}
	n, err := io.Copy(to, t)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return s, ErrShort
	case err != nil:
		return s, fmt.Errorf("archive: %s: %w", h.Name, err)
	}
	return m.sum(h.Name, n), nil
}

// In returns a place for Read: store and secrets side by side in a folder, as a node has
// them.
func In(folder string) func(name string) string {
	return func(name string) string { return filepath.Join(folder, filepath.Base(name)) }
}

// Nowhere is a place for Read that only checks.
func Nowhere(string) string { return "" }
