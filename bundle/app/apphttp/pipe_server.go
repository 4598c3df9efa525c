package apphttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
)

// serverPipe is the daemon's end of a pipe. One goroutine reads, one writes, and
// each request under way has one.
type serverPipe struct {
	server *Server
	conn   net.Conn
	in     *bufio.Reader
	out    *frameWriter
	work   sync.WaitGroup // of requests

	mu       sync.Mutex // guards requests
	requests map[uint64]*pipeRequest
}

// pipeRequest is a send or a receive under way.
type pipeRequest struct {
	cancel context.CancelFunc
	lease  *lease // of a receive, once it has a delivery; guarded by the pipe's mu
}

// pipe turns a request into a pipe and serves that until it ends.
func (s *Server) pipe(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != pipeProtocol {
		return fmt.Errorf("%w: a pipe asks for an upgrade to %s", errMalformed, pipeProtocol)
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	p := &serverPipe{
		server: s, conn: conn, in: bufio.NewReaderSize(buffered.Reader, bufferBytes),
		out: newFrameWriter(conn, s.Limits.Stall), requests: make(map[uint64]*pipeRequest),
	}
	if err := p.serve(r.Context()); err != nil {
		s.log.Debug("cut an application connection", "doing", "serving a pipe", "error", err)
	}
	return nil
}

// serve answers until the client goes, the server ends or ctx does. What the client
// holds is then given back.
func (p *serverPipe) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { p.conn.Close() })()
	defer cancel()
	answer := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + pipeProtocol + "\r\n\r\n"
	err := p.conn.SetDeadline(time.Time{})
	if err == nil {
		_, err = io.WriteString(p.conn, answer)
	}
	if err != nil {
		p.conn.Close()
		return err
	}
	var writing sync.WaitGroup
	writing.Go(p.out.run)
	// No new requests once the server begins to end.
	stop := context.AfterFunc(p.server.drain, func() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = p.readAll(ctx)
	if p.server.drain.Err() == nil {
		cancel() // the client is gone
	} else {
		err = nil
	}
	p.work.Wait()
	p.out.close()
	writing.Wait()
	p.conn.Close()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// readAll takes requests.
func (p *serverPipe) readAll(ctx context.Context) error {
	for {
		f, err := readFrame(p.in)
		if err != nil {
			return err
		}
		switch f.kind {
		case frameSend:
			p.begin(ctx, f, p.send)
		case frameReceive:
			p.begin(ctx, f, p.receive)
		case frameAck, frameRelease:
			p.settle(f)
		case frameCancel:
			p.cancel(f.number)
		default:
			return fmt.Errorf("%w: frame of kind %d", errMalformed, f.kind)
		}
	}
}

// begin runs a request in a goroutine of its own, while a slot is free.
func (p *serverPipe) begin(ctx context.Context, f frame, run func(context.Context, frame)) {
	slots := p.server.streams
	select {
	case slots <- struct{}{}:
	default:
		p.fail(f.number, fmt.Errorf("%w: the daemon already serves %d requests like this", app.ErrTryAgain, cap(slots)))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	p.requests[f.number] = &pipeRequest{cancel: cancel}
	p.mu.Unlock()
	p.work.Go(func() {
		defer p.finish(f.number)
		run(ctx, f)
	})
}

// finish forgets a request and gives its slot back, before the answer so that the
// client may use the slot at once.
func (p *serverPipe) finish(number uint64) {
	p.mu.Lock()
	r := p.requests[number]
	delete(p.requests, number)
	p.mu.Unlock()
	if r != nil {
		r.cancel()
		<-p.server.streams
	}
}

func (p *serverPipe) cancel(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.requests[number]; r != nil {
		r.cancel()
	}
}

// done answers with text. An answer that cannot be written has nobody to read it.
func (p *serverPipe) done(number uint64, text string) {
	_ = p.out.write(frameDone, number, func(dst []byte) []byte { return append(dst, text...) })
}

func (p *serverPipe) fail(number uint64, err error) {
	f, _ := failureOf(err)
	text, err := json.Marshal(f)
	if err != nil {
		text = []byte(`{"message":"the daemon cannot say what went wrong"}`)
	}
	_ = p.out.write(frameFailed, number, func(dst []byte) []byte { return append(dst, text...) })
}

func (p *serverPipe) send(ctx context.Context, f frame) {
	in := body{rest: f.body}
	out := readOutgoing(&in)
	err := in.err
	var id bundle.ID
	if err == nil {
		out.Payload, out.Length = bytes.NewReader(in.rest), int64(len(in.rest))
		id, err = p.server.client.Send(ctx, out)
	}
	p.finish(f.number)
	if err != nil {
		p.fail(f.number, err)
		return
	}
	p.done(f.number, id.String())
}

// receive waits for a delivery, sends it and holds it until it is settled, fetched,
// taken back or over.
func (p *serverPipe) receive(ctx context.Context, f frame) {
	s := p.server
	ctx, cancel := s.waiting(ctx)
	defer cancel()
	text, name, registered := strings.Cut(string(f.body), " ")
	endpoint, err := bundle.ParseEID(text)
	if err != nil {
		p.finish(f.number)
		p.fail(f.number, fmt.Errorf("%w: endpoint: %w", errMalformed, err))
		return
	}
	var d *app.Delivery
	if registered {
		d, err = s.client.ReceiveAs(ctx, app.Registration{Endpoint: endpoint, Name: name})
	} else {
		d, err = s.client.Receive(ctx, endpoint)
	}
	if err != nil {
		p.finish(f.number)
		p.fail(f.number, s.ended(err))
		return
	}
	if d.Size > maxPiped {
		l := s.lend(d)
		_ = p.out.write(frameLarge, f.number, func(dst []byte) []byte { return appendDelivery(dst, d, l.token) })
		s.offer(ctx, l)
		return
	}
	l := newLease(d)
	settled := false
	defer func() { s.end(l, settled) }()
	payload, err := readSmall(d)
	if err != nil {
		p.finish(f.number)
		p.fail(f.number, err)
		return
	}
	p.mu.Lock()
	if r := p.requests[f.number]; r != nil {
		r.lease = l
	}
	p.mu.Unlock()
	_ = p.out.write(frameDelivery, f.number, func(dst []byte) []byte {
		return append(appendDelivery(dst, d, ""), payload...)
	})
	settled = s.await(ctx, l)
}

// readSmall reads and closes the payload of a delivery.
func readSmall(d *app.Delivery) ([]byte, error) {
	payload := make([]byte, d.Size)
	_, err := io.ReadFull(d.Payload, payload)
	if err := errors.Join(err, d.Payload.Close()); err != nil {
		return nil, fmt.Errorf("reading the payload of bundle %s: %w", d.ID, err)
	}
	return payload, nil
}

// settle hands a verdict to the owner of the lease.
func (p *serverPipe) settle(f frame) {
	in := body{rest: f.body}
	of := in.number()
	p.mu.Lock()
	var l *lease
	if r := p.requests[of]; r != nil {
		l = r.lease
	}
	p.mu.Unlock()
	if l == nil || in.err != nil {
		p.fail(f.number, errNotHeld)
		return
	}
	v := verdict{ack: f.kind == frameAck, answer: func(err error) {
		if err != nil {
			p.fail(f.number, err)
			return
		}
		p.finish(of)
		p.done(f.number, "")
	}}
	select {
	case l.verdicts <- v:
	default: // there is a verdict already
		p.fail(f.number, errNotHeld)
		return
	}
	select {
	case <-l.ended: // perhaps without having seen it
		l.refuseVerdict()
	default:
	}
}
