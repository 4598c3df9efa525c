package tcpcl

// Sizes of a byteRing, in bytes.
const (
	dataRoom     = 512 << 10 // data that may wait for Incoming.Read
	leastDataBuf = 4 << 10
)

// A byteRing is a bounded queue of bytes, whose memory grows with what it holds.
type byteRing struct {
	buf         []byte
	head, count int
}

func (r *byteRing) free() int { return dataRoom - r.count }

// write appends p, which must fit.
func (r *byteRing) write(p []byte) {
	if len(r.buf)-r.count < len(p) {
		r.grow(r.count + len(p))
	}
	tail := r.head + r.count
	if tail >= len(r.buf) {
		tail -= len(r.buf)
	}
	n := copy(r.buf[tail:], p)
	copy(r.buf, p[n:])
	r.count += len(p)
}

// grow makes room for so many bytes in all.
func (r *byteRing) grow(need int) {
	size := max(len(r.buf), leastDataBuf)
	for size < need {
		size *= 2
	}
	buf := make([]byte, size)
	n := copy(buf[:r.count], r.buf[r.head:])
	copy(buf[n:r.count], r.buf)
	r.buf, r.head = buf, 0
}

// read takes len(p) bytes, which must be there.
func (r *byteRing) read(p []byte) {
	n := copy(p, r.buf[r.head:])
	copy(p[n:], r.buf)
	r.discard(len(p))
}

// discard drops the first n bytes.
func (r *byteRing) discard(n int) {
	r.count -= n
	if r.head += n; r.head >= len(r.buf) {
		r.head -= len(r.buf)
	}
}

// truncate drops the last n bytes.
func (r *byteRing) truncate(n int) { r.count -= n }

// rest gives the memory back when it holds nothing.
func (r *byteRing) rest() {
	if r.count == 0 {
		*r = byteRing{}
	}
}
