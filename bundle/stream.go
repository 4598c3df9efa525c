package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Stream returns the encoding of the whole bundle as a stream of EncodedLen bytes,
// with the payload read from payload on the way. A payload that does not hold
// exactly b.Payload.Length bytes is an error of Read.
func (b *Bundle) Stream(payload io.Reader) io.Reader {
	header := b.AppendHeader(nil)
	s := &stream{of: b.Payload, payload: payload, left: b.Payload.Length, sum: b.Payload.checksum(header)}
	s.around.Reset(header)
	return s
}

// stream is a bundle on its way out.
type stream struct {
	of      PayloadHeader
	around  bytes.Reader // what is left of the header, and later of the tail
	payload io.Reader
	left    uint64 // of the payload, in bytes
	sum     checksum
	ending  bool // the tail is under way
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case s.around.Len() > 0:
		return s.around.Read(p)
	case s.ending:
		return 0, io.EOF
	case s.left == 0:
		return s.end(p)
	}
	if uint64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.payload.Read(p)
	s.sum.add(p[:n])
	s.left -= uint64(n)
	switch {
	case err == nil || errors.Is(err, io.EOF) && s.left == 0:
		return n, nil
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("payload ends %d bytes early: %w", s.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

// end makes sure that the payload is over, and goes on with what follows it.
func (s *stream) end(p []byte) (int, error) {
	var more [1]byte
	n, err := io.ReadFull(s.payload, more[:])
	switch {
	case n > 0:
		return 0, fmt.Errorf("payload is longer than the announced %d bytes", s.of.Length)
	case !errors.Is(err, io.EOF):
		return 0, err
	}
	s.around.Reset(s.of.appendTail(nil, &s.sum))
	s.ending = true
	return s.around.Read(p)
}
