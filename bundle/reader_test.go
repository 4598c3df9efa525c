package bundle

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReaderStreams(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 1000)
	b := sampleBundle(CRC32C, payload)
	raw := b.Append(nil, payload)
	r := NewReader(bytes.NewReader(raw), DefaultLimits())
	got, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	same(t, &b, got)
	if r.HeaderLen() != int64(b.HeaderLen()) {
		t.Errorf("HeaderLen is %d, want %d", r.HeaderLen(), b.HeaderLen())
	}
	if err := iotest.TestReader(NewReader(bytes.NewReader(raw), DefaultLimits()), payload); err != nil {
		t.Error(err)
	}
	data, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(data, payload) {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	same(t, &b, got) // reading on did not touch the header
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}

func TestReaderVerifiesBeforeEOF(t *testing.T) {
	payload := []byte("Hello, DTN")
	b := sampleBundle(CRC32C, payload)
	raw := b.Append(nil, payload)
	for name, change := range map[string]func([]byte) []byte{
		"payload changed": func(p []byte) []byte { p[b.HeaderLen()] ^= 1; return p },
		"CRC changed":     func(p []byte) []byte { p[len(p)-2] ^= 1; return p },
		"break missing":   func(p []byte) []byte { return p[:len(p)-1] },
		"break changed":   func(p []byte) []byte { p[len(p)-1] = 0; return p },
		"byte behind":     func(p []byte) []byte { return append(p, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(iotest.OneByteReader(bytes.NewReader(change(bytes.Clone(raw)))), DefaultLimits())
			buf := make([]byte, len(payload))
			if n, err := io.ReadFull(r, buf); n != len(payload) || err != nil {
				t.Fatalf("payload: %d bytes, %v", n, err)
			}
			var parse *ParseError
			_, err := r.Read(buf)
			if !errors.As(err, &parse) {
				t.Fatalf("at the end: %v, want a *ParseError", err)
			}
			if _, again := r.Read(buf); again != err {
				t.Errorf("second read: %v, want the same error", again)
			}
		})
	}
}

func TestReaderPassesOnStreamErrors(t *testing.T) {
	payload := []byte("Hello, DTN")
	b := sampleBundle(CRC16, payload)
	raw := b.Append(nil, payload)
	broken := errors.New("link is gone")
	for i := range raw {
		r := NewReader(io.MultiReader(bytes.NewReader(raw[:i]), iotest.ErrReader(broken)), DefaultLimits())
		_, err := io.ReadAll(r)
		var parse *ParseError
		if !errors.Is(err, broken) || errors.As(err, &parse) {
			t.Fatalf("stream fails at byte %d: %v, want its own error", i, err)
		}
	}
}

func TestReaderRefusesBeforeReadingOn(t *testing.T) {
	// Behind the first fault nothing is waited for.
	endless := io.MultiReader(strings.NewReader("\x9f\x00"), repeat('x'))
	if _, err := NewReader(endless, DefaultLimits()).Header(); err == nil || errors.Is(err, ErrLimit) {
		t.Errorf("malformed and endless: %v", err)
	}
	// A block that never ends is given up at the limit.
	b := minimal()
	head := append(append([]byte{0x9f}, b.Primary.Wire()...), 0x85, 0x18, 99, 2, 0, 0, 0x5b, 0, 0, 0, 1, 0, 0, 0, 0)
	count := &countReader{r: io.MultiReader(bytes.NewReader(head), repeat('x'))}
	if _, err := NewReader(count, DefaultLimits()).Header(); !errors.Is(err, ErrLimit) {
		t.Errorf("endless block: %v, want ErrLimit", err)
	}
	if count.n > DefaultLimits().Header {
		t.Errorf("%d bytes were read of an endless block", count.n)
	}
}

type repeat byte

func (c repeat) Read(p []byte) (int, error) {
	n := min(len(p), 16)
	for i := range n {
		p[i] = byte(c)
	}
	for n < len(p) {
		n += copy(p[n:], p[:n])
	}
	return len(p), nil
}

type countReader struct {
	r io.Reader
	n int
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestLargeBundleTakesLittleMemory(t *testing.T) {
	const size = 64 << 20
	b := sampleBundle(CRC32C, nil)
	b.Payload.Length = size
	pr, pw := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := b.Encode(pw, io.LimitReader(repeat('x'), size))
		done <- errors.Join(err, pw.Close())
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, NewReader(pr, DefaultLimits()))
	runtime.ReadMemStats(&after)
	if werr := <-done; err != nil || werr != nil || n != size {
		t.Fatalf("%d bytes, %v, %v", n, err, werr)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes were allocated for a bundle of %d", used, size)
	}
}

func TestHeaderCostIsLinear(t *testing.T) {
	b := minimal()
	for n := range uint64(60) {
		b.Extensions = append(b.Extensions, Block{Type: 200, Number: n + 2, CRC: CRC32C, Data: make([]byte, 1000)})
	}
	raw := b.Append(nil, []byte("abc"))
	allocated := func(src func() io.Reader) float64 {
		return testing.AllocsPerRun(3, func() {
			if _, err := NewReader(src(), DefaultLimits()).Header(); err != nil {
				t.Fatal(err)
			}
		})
	}
	whole := allocated(func() io.Reader { return bytes.NewReader(raw) })
	slow := allocated(func() io.Reader { return iotest.OneByteReader(bytes.NewReader(raw)) })
	if slow > whole+4 {
		t.Errorf("byte by byte the header is looked at more often: %v allocations instead of %v", slow, whole)
	}
}
