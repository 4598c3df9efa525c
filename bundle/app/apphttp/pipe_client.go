package apphttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
)

// clientPipe is the client's end of a pipe. One goroutine reads, one writes.
type clientPipe struct {
	conn net.Conn
	out  *frameWriter
	work sync.WaitGroup
	gone chan struct{} // closed when the pipe carries nothing more

	mu    sync.Mutex // guards the rest
	calls map[uint64]chan frame
	last  uint64
	err   error // why it is gone
}

// openPipe returns the client's pipe, a new one if there is none or it has ended.
func (c *Client) openPipe(ctx context.Context) (*clientPipe, error) {
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, c.broken(ctx, ctx.Err())
	}
	c.mu.Lock()
	p := c.pipe
	c.mu.Unlock()
	if p != nil && !p.isGone() {
		return p, nil
	}
	p, err := c.dialPipe(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.pipe = p
	c.mu.Unlock()
	if c.alive.Err() != nil { // Close may not have seen it
		p.close()
		return nil, c.broken(ctx, app.ErrClosed)
	}
	return p, nil
}

// dialPipe connects and asks for the upgrade.
func (c *Client) dialPipe(ctx context.Context) (*clientPipe, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	err = conn.SetDeadline(time.Now().Add(handshakeTime))
	if err == nil {
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: perigee\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", pathPipe, pipeProtocol)
	}
	in := bufio.NewReaderSize(conn, bufferBytes)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		conn.Close()
		return nil, c.broken(ctx, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, readFailure(resp)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil || ctx.Err() != nil {
		conn.Close()
		return nil, c.broken(ctx, errors.Join(err, ctx.Err()))
	}
	p := &clientPipe{
		conn: conn, out: newFrameWriter(conn, 0), gone: make(chan struct{}), calls: make(map[uint64]chan frame),
	}
	p.work.Go(p.out.run)
	p.work.Go(func() { p.readAll(in) })
	return p, nil
}

func (p *clientPipe) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// close ends the pipe and waits for its goroutines.
func (p *clientPipe) close() {
	p.conn.Close()
	p.out.close()
	p.work.Wait()
}

// readAll hands answers to those who wait for them.
func (p *clientPipe) readAll(in *bufio.Reader) {
	for {
		f, err := readFrame(in)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the daemon closed the connection")
			}
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			close(p.gone)
			p.conn.Close()
			p.out.close()
			return
		}
		p.mu.Lock()
		answer := p.calls[f.number]
		delete(p.calls, f.number)
		p.mu.Unlock()
		if answer != nil { // else nobody waits any more
			answer <- f
		}
	}
}

// call asks for something and waits for the answer, or for ctx to end.
func (c *Client) call(ctx context.Context, p *clientPipe, kind frameKind, fill func([]byte) []byte) (frame, error) {
	answer := make(chan frame, 1)
	p.mu.Lock()
	p.last++
	number := p.last
	p.calls[number] = answer
	p.mu.Unlock()
	forget := func() {
		p.mu.Lock()
		delete(p.calls, number)
		p.mu.Unlock()
	}
	if err := p.out.write(kind, number, fill); err != nil {
		forget()
		if errors.Is(err, errMalformed) {
			return frame{}, err
		}
		return frame{}, c.broken(ctx, err)
	}
	answered := func(f frame) (frame, error) {
		if f.kind == frameFailed {
			return f, readFailed(f.body)
		}
		return f, nil
	}
	select {
	case f := <-answer:
		return answered(f)
	case <-ctx.Done():
		forget()
		_ = p.out.write(frameCancel, number, nil) // when the pipe is gone, so is the request
		return frame{}, c.broken(ctx, ctx.Err())
	case <-p.gone:
	}
	select {
	case f := <-answer: // it came just before
		return answered(f)
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return frame{}, c.broken(ctx, p.err)
}

// readFailed reads the failure in a frame.
func readFailed(text []byte) error {
	var f failure
	if json.Unmarshal(text, &f) != nil || f.Message == "" {
		return errors.New("daemon failed without saying why; do perigee and perigeed have the same version?")
	}
	return f.err()
}

// sendPiped sends a small bundle.
func (c *Client) sendPiped(ctx context.Context, out *app.Outgoing, payload []byte) (bundle.ID, error) {
	p, err := c.openPipe(ctx)
	if err != nil {
		return bundle.ID{}, err
	}
	f, err := c.call(ctx, p, frameSend, func(dst []byte) []byte {
		return append(appendOutgoing(dst, out), payload...)
	})
	if err != nil {
		return bundle.ID{}, err
	}
	var id bundle.ID
	if err := id.UnmarshalText(f.body); f.kind != frameDone || err != nil {
		return bundle.ID{}, fmt.Errorf("reading the daemon's answer: %w; do perigee and perigeed have the same version?", errors.Join(err, errMalformed))
	}
	return id, nil
}

// Receive implements app.Client. ctx governs the wait and not the delivery.
func (c *Client) Receive(ctx context.Context, endpoint bundle.EID) (*app.Delivery, error) {
	return c.receive(ctx, endpoint.String())
}

// ReceiveAs implements app.Client. ctx governs the wait and not the delivery.
func (c *Client) ReceiveAs(ctx context.Context, r app.Registration) (*app.Delivery, error) {
	return c.receive(ctx, r.Endpoint.String()+" "+r.Name)
}

// receive waits for a bundle at what the text names.
func (c *Client) receive(ctx context.Context, at string) (*app.Delivery, error) {
	scope, cancel := c.scope(ctx)
	defer cancel()
	p, err := c.openPipe(scope)
	if err != nil {
		return nil, err
	}
	f, err := c.call(scope, p, frameReceive, func(dst []byte) []byte { return append(dst, at...) })
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for a bundle for %s: %w", at, ctx.Err())
		}
		return nil, err
	}
	in := body{rest: f.body}
	d, token := readDelivery(&in)
	switch {
	case in.err != nil:
		p.conn.Close() // nothing that follows can be trusted
		return nil, fmt.Errorf("reading the head of a delivery: %w; do perigee and perigeed have the same version?", in.err)
	case f.kind == frameLarge:
		return c.fetch(ctx, d, token)
	}
	d.Payload = io.NopCloser(bytes.NewReader(in.rest))
	d.Ack = func(ctx context.Context) error { return c.settlePiped(ctx, p, frameAck, f.number) }
	d.Release = func(ctx context.Context) error { return c.settlePiped(ctx, p, frameRelease, f.number) }
	return d, nil
}

// settlePiped settles the delivery that answered the receive with the given number.
func (c *Client) settlePiped(ctx context.Context, p *clientPipe, kind frameKind, number uint64) error {
	ctx, cancel := c.scope(ctx)
	defer cancel()
	_, err := c.call(ctx, p, kind, func(dst []byte) []byte { return binary.AppendUvarint(dst, number) })
	return err
}
