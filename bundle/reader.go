package bundle

import (
	"errors"
	"fmt"
	"io"

	"perigee/bundle/internal/cbor"
)

// headerGuess is how much of a bundle is read before its header is first looked at.
const headerGuess = 1 << 10

// maxTail is the longest that can follow a payload: CRC and two breaks, and one
// byte more to notice what does not belong there.
const maxTail = 5 + 2 + 1

// Reader reads one bundle from a stream without holding its payload. It accepts
// and refuses exactly what Parse does.
type Reader struct {
	src  io.Reader
	lim  Limits
	bndl Bundle
	buf  []byte // read from src and not handed out yet
	off  int64  // in the stream, of buf[0]

	headerLen int64
	left      uint64 // payload bytes to hand out
	sum       checksum
	state     readerState
	err       error // sticky; io.EOF after a whole bundle
}

type readerState uint8

const (
	atHeader readerState = iota
	atPayload
	finished
)

// NewReader returns a Reader of the bundle that r holds from here to its end.
func NewReader(r io.Reader, lim Limits) *Reader { return &Reader{src: r, lim: lim} }

// Header reads and validates everything in front of the payload's data. The
// bundle belongs to the caller and stays valid. Errors about the bundle are
// *ParseError; others are those of the stream.
func (r *Reader) Header() (*Bundle, error) {
	if r.state == atHeader && r.err == nil {
		r.readHeader()
	}
	if r.state == atHeader {
		return nil, r.err
	}
	return &r.bndl, nil
}

// Primary returns the primary block of a bundle that cannot be read, and false when
// that cannot be read either. Its CRC is right.
func (r *Reader) Primary() (Primary, bool) {
	if r.state != atHeader {
		return r.bndl.Primary, true
	}
	d := cbor.NewDecoder(r.buf)
	if parseStart(&d) != nil {
		return Primary{}, false
	}
	p, err := parsePrimary(&d)
	return p, err == nil
}

// HeaderLen is the offset of the first byte of payload in the stream, once Header
// has returned.
func (r *Reader) HeaderLen() int64 { return r.headerLen }

// readHeader looks at the header each time twice as much has been read, so that
// the cost stays linear however the stream is cut.
func (r *Reader) readHeader() {
	size := min(headerGuess, r.lim.Header)
	for {
		buf := make([]byte, size)
		n := copy(buf, r.buf)
		m, err := io.ReadFull(r.src, buf[n:])
		r.buf = buf[:n+m]
		ended := errors.Is(err, io.EOF) || err == io.ErrUnexpectedEOF
		if err != nil && !ended {
			r.err = fmt.Errorf("read bundle: %w", err)
			return
		}
		used, perr := r.bndl.DecodeHeader(r.buf, r.lim)
		switch {
		case perr == nil:
			r.begin(used)
			return
		case ended || !endsEarly(perr):
			r.err = perr
			return
		case size >= r.lim.Header:
			r.err = overLimit(r.lim.Header, "header is longer than %d bytes", r.lim.Header)
			return
		}
		size = min(2*size, r.lim.Header)
	}
}

// begin turns from the header, which took used bytes, to the payload.
func (r *Reader) begin(used int) {
	r.headerLen, r.off = int64(used), int64(used)
	r.left = r.bndl.Payload.Length
	r.sum = r.bndl.Payload.checksum(r.buf[:used])
	r.buf = r.buf[used:]
	r.state = atPayload
}

// Read reads the payload's data. It returns io.EOF only after the payload's CRC,
// the end of the bundle and the end of the stream have been verified; until then
// the data may be anything.
func (r *Reader) Read(p []byte) (int, error) {
	if _, err := r.Header(); err != nil {
		return 0, err
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		r.err = r.readTail()
		r.state = finished
		return 0, r.err
	}
	if uint64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.read(p)
	r.sum.add(p[:n])
	r.left -= uint64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left == 0:
		// The tail will tell.
	case errors.Is(err, io.EOF):
		r.err = tooShort(int(r.off), "payload")
	case err != nil:
		r.err = fmt.Errorf("read bundle: %w", err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// read reads from what is buffered, then from the stream.
func (r *Reader) read(p []byte) (int, error) {
	if len(r.buf) > 0 {
		n := copy(p, r.buf)
		r.buf = r.buf[n:]
		r.off += int64(n)
		return n, nil
	}
	n, err := r.src.Read(p)
	r.off += int64(n)
	return n, err
}

// readTail reads what follows the payload and verifies it. It returns io.EOF when
// all is well.
func (r *Reader) readTail() error {
	var tail [maxTail]byte
	at, n := int(r.off), 0
	want := r.bndl.Payload.tailLen() + 1
	for n < want {
		m, err := r.read(tail[n:want])
		n += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read bundle: %w", err)
		}
	}
	if err := r.bndl.Payload.checkTail(tail[:n], at, &r.sum); err != nil {
		return err
	}
	return io.EOF
}
