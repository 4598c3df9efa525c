package apphttp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// A pipe carries the small bundles of a client, in both directions and many at a
// time, where a request of HTTP for each would cost more than the bundle does. It
// is a connection that begins as an HTTP request for an upgrade and then carries
// frames:
//
//	length of the rest  4 bytes, big endian
//	kind                1 byte
//	number              8 bytes, big endian
//	body
//
// The client numbers what it asks for, and the answer bears the number. The daemon
// gives back what the client still holds when the pipe ends.
const pipeProtocol = "perigee-pipe"

// Limits of a pipe.
const (
	maxPiped      = 64 << 10 // bytes of payload; larger ones go by requests of their own
	maxFrame      = maxPiped + maxHeaderBytes
	maxUnwritten  = 1 << 20 // bytes that wait to be written
	frameHead     = 4 + 1 + 8
	handshakeTime = 10 * time.Second
)

// frameKind says what a frame is.
type frameKind byte

// Frames of the client.
const (
	frameSend    frameKind = 1 // body: description of the bundle, payload
	frameReceive frameKind = 2 // body: endpoint, and behind a space the name of a registration there
	frameAck     frameKind = 3 // body: number of the receive whose delivery is acknowledged
	frameRelease frameKind = 4 // body: as for frameAck
	frameCancel  frameKind = 5 // nobody waits for the answer to the number any more
)

// Frames of the daemon.
const (
	frameDone     frameKind = 64 // body: what was asked for, if anything
	frameFailed   frameKind = 65 // body: failure in JSON
	frameDelivery frameKind = 66 // body: head of the delivery, payload
	frameLarge    frameKind = 67 // body: head of the delivery; its token fetches it
)

// frame is one message on a pipe.
type frame struct {
	kind   frameKind
	number uint64
	body   []byte
}

// readFrame reads the next frame. Its body is its own.
func readFrame(r io.Reader) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < frameHead-4 || length > maxFrame {
		return frame{}, fmt.Errorf("%w: frame of %d bytes", errMalformed, length)
	}
	f := frame{kind: frameKind(head[4]), number: binary.BigEndian.Uint64(head[5:])}
	f.body = make([]byte, length-(frameHead-4))
	if _, err := io.ReadFull(r, f.body); err != nil {
		return frame{}, fmt.Errorf("reading a frame: %w", err)
	}
	return f, nil
}

// frameWriter writes frames to a connection, all that wait at once.
type frameWriter struct {
	conn  net.Conn
	stall time.Duration // longest that the other side may take nothing; 0 for ever
	wake  chan struct{} // of capacity 1

	mu     sync.Mutex // guards the rest
	room   *sync.Cond // signalled when buf was taken or err set
	buf    []byte
	closed bool
	err    error
}

func newFrameWriter(conn net.Conn, stall time.Duration) *frameWriter {
	w := &frameWriter{conn: conn, stall: stall, wake: make(chan struct{}, 1)}
	w.room = sync.NewCond(&w.mu)
	return w
}

// write queues a frame with the body that fill appends. It waits while too much is
// queued, for as long as the connection lives.
func (w *frameWriter) write(kind frameKind, number uint64, fill func([]byte) []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) >= maxUnwritten && w.err == nil {
		w.room.Wait()
	}
	if w.err != nil {
		return w.err
	}
	start := len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0, byte(kind))
	w.buf = binary.BigEndian.AppendUint64(w.buf, number)
	if fill != nil {
		w.buf = fill(w.buf)
	}
	length := len(w.buf) - start - 4
	if length > maxFrame {
		w.buf = w.buf[:start]
		return fmt.Errorf("%w: frame of %d bytes", errMalformed, length)
	}
	binary.BigEndian.PutUint32(w.buf[start:], uint32(length))
	w.signal()
	return nil
}

func (w *frameWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close lets run write what is queued and return.
func (w *frameWriter) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
}

// run writes what is queued until the writer is closed or the connection fails.
func (w *frameWriter) run() {
	var buf []byte
	for {
		w.mu.Lock()
		buf, w.buf = w.buf, buf[:0]
		closed := w.closed
		w.room.Broadcast()
		w.mu.Unlock()
		if len(buf) == 0 {
			if closed {
				return
			}
			<-w.wake
			continue
		}
		if err := w.flush(buf); err != nil {
			w.fail(fmt.Errorf("writing to the other side: %w", err))
			return
		}
	}
}

func (w *frameWriter) flush(buf []byte) error {
	if w.stall > 0 {
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
			return err
		}
	}
	_, err := w.conn.Write(buf)
	return err
}

// fail ends the connection. Frames that were not written are lost.
func (w *frameWriter) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.room.Broadcast()
	w.mu.Unlock()
	_ = w.conn.Close() // it has failed already
}

// errShort is a body that ends early.
var errShort = fmt.Errorf("%w: frame ends early", errMalformed)

// body takes the fields of a frame's body one after the other.
type body struct {
	rest []byte
	err  error
}

func (b *body) number() uint64 {
	v, n := binary.Uvarint(b.rest)
	if n <= 0 {
		b.fail(errShort)
		return 0
	}
	b.rest = b.rest[n:]
	return v
}

func (b *body) text() []byte {
	n := b.number()
	if n > uint64(len(b.rest)) {
		b.fail(errShort)
		return nil
	}
	text := b.rest[:n]
	b.rest = b.rest[n:]
	return text
}

// into reads a value by its text.
func (b *body) into(name string, value interface{ UnmarshalText([]byte) error }) {
	text := b.text()
	if b.err != nil {
		return
	}
	if err := value.UnmarshalText(text); err != nil {
		b.fail(fmt.Errorf("%w: %s: %w", errMalformed, name, err))
	}
}

func (b *body) fail(err error) {
	b.err = errors.Join(b.err, err)
	b.rest = nil
}

func appendText(dst []byte, text string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

// appendOutgoing writes what is asked for beside the payload.
func appendOutgoing(dst []byte, out *app.Outgoing) []byte {
	for _, e := range []bundle.EID{out.To, out.From, out.ReportTo} {
		dst = appendText(dst, e.String())
	}
	dst = appendText(dst, out.Priority.String())
	custody := uint64(0)
	if out.Custody {
		custody = 1
	}
	critical := uint64(0)
	if out.Critical {
		critical = 1
	}
	for _, n := range []uint64{uint64(out.Reports), uint64(out.Lifetime), custody, uint64(out.Compressed), out.Value, critical} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// readOutgoing reads what appendOutgoing wrote, and leaves the payload.
func readOutgoing(b *body) app.Outgoing {
	var out app.Outgoing
	b.into("to", &out.To)
	b.into("from", &out.From)
	b.into("reportto", &out.ReportTo)
	b.into("priority", &out.Priority)
	out.Reports = bundle.Flags(b.number())
	out.Lifetime = dtntime.Duration(b.number())
	out.Custody = b.number() != 0
	out.Compressed = bundle.ReportingFlags(b.number())
	out.Value = b.number()
	out.Critical = b.number() != 0
	return out
}

// appendDelivery writes the head of a delivery. The token is empty unless the
// payload goes by a request of its own.
func appendDelivery(dst []byte, d *app.Delivery, token string) []byte {
	dst = appendText(dst, d.ID.String())
	dst = appendText(dst, d.Destination.String())
	dst = binary.AppendUvarint(dst, uint64(d.Received))
	dst = binary.AppendUvarint(dst, uint64(d.Size))
	return appendText(dst, token)
}

// readDelivery reads what appendDelivery wrote, and leaves the payload.
func readDelivery(b *body) (d *app.Delivery, token string) {
	d = new(app.Delivery)
	b.into("bundle", &d.ID)
	b.into("destination", &d.Destination)
	d.Source = d.ID.Source
	d.Received = dtntime.Time(b.number())
	d.Size = int64(b.number())
	token = string(b.text())
	if b.err == nil && (d.Size < 0 || token == "" && d.Size != int64(len(b.rest))) {
		b.fail(fmt.Errorf("%w: delivery of %d bytes with %d in the frame", errMalformed, d.Size, len(b.rest)))
	}
	return d, token
}
