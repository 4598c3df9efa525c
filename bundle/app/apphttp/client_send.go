package apphttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"perigee/bundle"
	"perigee/bundle/app"
)

// Send implements app.Client. A payload that is shorter or longer than its
// announced length is an error, and nothing is sent. The payload is not read any
// more once Send has returned, but when ctx ends while a read of it blocks, Send
// does not wait for that read.
func (c *Client) Send(ctx context.Context, out app.Outgoing) (bundle.ID, error) {
	ctx, cancel := c.scope(ctx)
	defer cancel()
	if out.Payload == nil {
		out.Payload, out.Length = http.NoBody, 0
	}
	payload := &payloadSource{inner: out.Payload, length: out.Length}
	defer payload.detach(ctx)
	if out.Length >= 0 && out.Length <= maxPiped {
		small, err := payload.readAll(ctx)
		if err != nil {
			return bundle.ID{}, fmt.Errorf("reading the payload of a bundle for %s: %w", out.To, err)
		}
		return c.sendPiped(ctx, &out, small)
	}
	resp, err := c.do(ctx, http.MethodPost, pathSend, query(out), payload, out.Length)
	if err != nil {
		if readErr := payload.failed(); readErr != nil {
			err = fmt.Errorf("reading the payload of a bundle for %s: %w", out.To, readErr)
		}
		return bundle.ID{}, err
	}
	defer resp.Body.Close()
	var id bundle.ID
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxErrorBytes)).Decode(&id); err != nil {
		return bundle.ID{}, c.broken(ctx, err)
	}
	return id, nil
}

// payloadSource reads a payload on behalf of the transport, which may still want to
// after the request has its answer, and checks its length.
type payloadSource struct {
	mu       sync.Mutex // guards all, and is held while reading
	inner    io.Reader
	length   int64 // negative when unknown
	read     int64
	err      error
	detached bool
}

func (p *payloadSource) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.detached {
		return 0, app.ErrClosed
	}
	n, err := p.inner.Read(b)
	p.read += int64(n)
	if p.length >= 0 {
		err = p.check(err)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
		return 0, err
	}
	return n, err
}

// readAll reads a payload of known length, or returns when ctx ends.
func (p *payloadSource) readAll(ctx context.Context) ([]byte, error) {
	type outcome struct {
		payload []byte
		err     error
	}
	read := make(chan outcome, 1)
	go func() { // ends with the read, which may outlast ctx, as Send says
		payload := make([]byte, p.length)
		_, err := io.ReadFull(p, payload)
		if p.length == 0 {
			if _, err = p.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				err = nil
			}
		}
		read <- outcome{payload, err}
	}()
	select {
	case o := <-read:
		return o.payload, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// check compares what was read with the announced length before its last bytes
// are given away, because they would complete the bundle.
func (p *payloadSource) check(err error) error {
	if p.read == p.length && err == nil {
		var n int
		n, err = io.ReadFull(p.inner, make([]byte, 1))
		p.read += int64(n)
	}
	switch {
	case p.read > p.length:
		return fmt.Errorf("payload is longer than its announced length of %d bytes", p.length)
	case p.read < p.length && errors.Is(err, io.EOF):
		// The cause is not wrapped: it must not look like an end.
		return fmt.Errorf("payload ends after %d of %d announced bytes", p.read, p.length)
	}
	return err
}

func (p *payloadSource) failed() error {
	if !p.mu.TryLock() {
		return nil // a read is under way, so none has failed
	}
	defer p.mu.Unlock()
	return p.err
}

// detach sees to it that the payload is not read any more. It waits for a read
// under way unless ctx has ended.
func (p *payloadSource) detach(ctx context.Context) {
	if ctx.Err() == nil {
		p.mu.Lock()
	} else if !p.mu.TryLock() {
		return
	}
	p.detached = true
	p.mu.Unlock()
}
