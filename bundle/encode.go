package bundle

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"perigee/bundle/internal/cbor"
)

// copySize is the buffer with which payloads are streamed.
const copySize = 64 << 10

// AppendHeader appends the bundle up to the first byte of its payload. It never
// changes b, so one bundle may be appended by many goroutines at once. The bytes
// that follow the header in a parsed bundle (payload, CRC and end) are valid
// behind the appended header too, as long as b.Payload is as it was parsed.
func (b *Bundle) AppendHeader(dst []byte) []byte { return b.appendHeader(b.grow(dst, 0)) }

// appendHeader is AppendHeader where there is room.
func (b *Bundle) appendHeader(dst []byte) []byte {
	dst = append(dst, cbor.IndefiniteArray)
	dst = b.Primary.append(dst)
	for i := range b.Extensions {
		dst = b.Extensions[i].append(dst)
	}
	return b.Payload.append(dst)
}

// Append appends the whole bundle. The length of payload must be b.Payload.Length.
func (b *Bundle) Append(dst, payload []byte) []byte {
	p := &b.Payload
	dst = b.appendHeader(b.grow(dst, len(payload)+p.tailLen()))
	start := len(dst) - p.encodedLen()
	dst = append(dst, payload...)
	if p.open {
		sum := newChecksum(p.CRC)
		sum.add(dst[start:])
		return p.appendTail(dst, &sum)
	}
	return append(appendCRC(dst, start, p.CRC), cbor.BreakByte)
}

// AppendFrom appends the whole bundle with the payload read from payload, which must
// hold b.Payload.Length bytes at least; what follows them is not read. When it does
// not, the error wraps io.ErrUnexpectedEOF.
func (b *Bundle) AppendFrom(dst []byte, payload io.Reader) ([]byte, error) {
	p := &b.Payload
	dst = b.appendHeader(b.grow(dst, int(p.Length)+p.tailLen()))
	start, at := len(dst)-p.encodedLen(), len(dst)
	dst = dst[:at+int(p.Length)]
	if n, err := io.ReadFull(payload, dst[at:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("payload of bundle %s, after %d of %d bytes: %w", b.ID(), n, p.Length, err)
	}
	sum := newChecksum(p.CRC)
	sum.add(dst[start:])
	return p.appendTail(dst, &sum), nil
}

// grow makes room for the header and n more bytes: exactly that when dst is nil.
func (b *Bundle) grow(dst []byte, n int) []byte {
	if dst == nil {
		return make([]byte, 0, b.HeaderLen()+n)
	}
	if cap(dst)-len(dst) >= b.atMost()+n {
		return dst
	}
	return slices.Grow(dst, b.HeaderLen()+n)
}

// atMost is a bound on HeaderLen that costs less to know.
func (b *Bundle) atMost() int {
	const fixed, block = 160, 48 // bytes without what is of any length
	p := &b.Primary
	n := fixed + len(p.wire) + len(p.Destination.ssp) + len(p.Source.ssp) + len(p.ReportTo.ssp)
	for i := range b.Extensions {
		n += block + len(b.Extensions[i].Data)
	}
	return n
}

// HeaderLen is the length of what AppendHeader appends: the offset of the first
// byte of payload.
func (b *Bundle) HeaderLen() int {
	n := 1 + b.Primary.encodedLen() + b.Payload.encodedLen()
	for i := range b.Extensions {
		n += b.Extensions[i].encodedLen()
	}
	return n
}

// EncodedLen is the length of the whole bundle. It saturates at 2^64-1.
func (b *Bundle) EncodedLen() uint64 {
	rest := uint64(b.HeaderLen() + b.Payload.tailLen())
	if b.Payload.Length > math.MaxUint64-rest {
		return math.MaxUint64
	}
	return rest + b.Payload.Length
}

// Encode writes the whole bundle to w, with the payload read from payload, which
// must hold exactly b.Payload.Length bytes. It returns how many bytes it wrote.
// It never changes b.
func (b *Bundle) Encode(w io.Writer, payload io.Reader) (int64, error) {
	header := b.AppendHeader(nil)
	n, err := w.Write(header)
	written := int64(n)
	if err != nil {
		return written, fmt.Errorf("write header of bundle %s: %w", b.ID(), err)
	}
	sum := b.Payload.checksum(header)
	copied, err := copyPayload(w, payload, b.Payload.Length, &sum)
	written += copied
	if err != nil {
		return written, fmt.Errorf("write payload of bundle %s: %w", b.ID(), err)
	}
	n, err = w.Write(b.Payload.appendTail(nil, &sum))
	if err != nil {
		err = fmt.Errorf("write end of bundle %s: %w", b.ID(), err)
	}
	return written + int64(n), err
}

// copyPayload copies exactly length bytes, up to the end of r, through sum.
func copyPayload(w io.Writer, r io.Reader, length uint64, sum *checksum) (int64, error) {
	buf := make([]byte, min(length, copySize-1)+1)
	var done uint64
	for {
		// One byte more than is due shows whether the payload is too long.
		n, err := io.ReadFull(r, buf[:min(uint64(len(buf))-1, length-done)+1])
		if uint64(n) > length-done {
			return int64(done), fmt.Errorf("payload is longer than the announced %d bytes", length)
		}
		sum.add(buf[:n])
		m, werr := w.Write(buf[:n])
		done += uint64(m)
		switch {
		case werr != nil:
			return int64(done), werr
		case err == nil:
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return int64(done), err
		case done < length:
			return int64(done), fmt.Errorf("payload ends after %d of %d bytes: %w", done, length, io.ErrUnexpectedEOF)
		}
		return int64(done), nil
	}
}
