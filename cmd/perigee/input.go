package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// openInput opens the file called name, or standard input for "-".
func (e *env) openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(e.in), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.Join(usagef("%s is a folder; name a file", name), f.Close())
	}
	return f, nil
}

// decodeText returns the bytes that r stands for: its own, or those that it
// spells out in hexadecimal. No bundle begins with a byte that is also a
// hexadecimal digit or a space.
func decodeText(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	first, err := in.Peek(1)
	switch {
	case errors.Is(err, io.EOF):
		return in, nil
	case err != nil:
		return nil, fmt.Errorf("read input: %w", err)
	case !isSpace(first[0]) && unhex(first[0]) < 0:
		return in, nil
	}
	return bufio.NewReaderSize(&hexReader{in: in}, 64<<10), nil
}

// hexReader decodes hexadecimal text. White space may stand anywhere.
type hexReader struct {
	in  *bufio.Reader
	pos int64 // characters read
	err error // kept until the bytes before it are handed out
}

func (h *hexReader) Read(p []byte) (int, error) {
	for n := range p {
		if h.err == nil {
			p[n], h.err = h.next()
		}
		if h.err != nil && n > 0 {
			return n, nil
		}
		if h.err != nil {
			return 0, h.err
		}
	}
	return len(p), nil
}

// next reads two digits.
func (h *hexReader) next() (byte, error) {
	high, err := h.digit()
	if err != nil {
		return 0, err
	}
	low, err := h.digit()
	if errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("%w: hexadecimal text ends in the middle of a byte, at character %d", errMalformed, h.pos)
	}
	return byte(high<<4 | low), err
}

func (h *hexReader) digit() (int, error) {
	for {
		c, err := h.in.ReadByte()
		if err != nil {
			return 0, err
		}
		h.pos++
		if isSpace(c) {
			continue
		}
		v := unhex(c)
		if v < 0 {
			return 0, fmt.Errorf("%w: %q at character %d of hexadecimal text is no digit", errMalformed, c, h.pos)
		}
		return v, nil
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
