package apphttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"perigee/bundle"
	"perigee/bundle/app"
)

// fetch gets the payload of a large delivery, which the daemon holds under token.
func (c *Client) fetch(ctx context.Context, result *app.Delivery, token string) (*app.Delivery, error) {
	held, drop := c.scope(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, drop)
	resp, err := c.do(held, http.MethodGet, pathFetch, url.Values{"token": {token}}, nil, 0)
	if !stop() || err != nil {
		if err == nil {
			resp.Body.Close()
		}
		drop()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("fetching bundle %s: %w", result.ID, err)
	}
	d := &delivery{client: c, resp: resp, drop: drop, token: token}
	d.left.Store(result.Size)
	result.Payload, result.Ack, result.Release = d, d.ack, d.release
	return result, nil
}

// delivery is the client's end of a lease: the answer that the server holds open.
type delivery struct {
	client *Client
	resp   *http.Response
	drop   context.CancelFunc
	token  string
	left   atomic.Int64 // bytes of payload not yet read
}

// Read reads the payload, which ends before the answer does.
func (d *delivery) Read(p []byte) (int, error) {
	left := d.left.Load()
	if left == 0 {
		return 0, io.EOF
	}
	n, err := d.resp.Body.Read(p[:min(int64(len(p)), left)])
	left = d.left.Add(int64(-n))
	switch {
	case left == 0:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("payload ends %d bytes early: %w", left, io.ErrUnexpectedEOF)
	case err != nil:
		return n, fmt.Errorf("reading the payload from the daemon: %w", err)
	}
	return n, nil
}

// Close ends the reading of the payload. The delivery is still to be settled.
func (d *delivery) Close() error { return nil }

// end closes the connection of a delivery that is over.
func (d *delivery) end() {
	d.drop()
	d.resp.Body.Close()
}

// ack settles the delivery once the daemon has written that the application has it.
func (d *delivery) ack(ctx context.Context) error {
	// The server listens once the payload is through.
	if _, err := io.Copy(io.Discard, d); err != nil {
		return fmt.Errorf("acknowledging a delivery: %w", err)
	}
	return d.settle(ctx, pathAck)
}

func (d *delivery) release(ctx context.Context) error {
	if d.left.Load() > 0 {
		d.end() // the server releases what was not taken whole
		return nil
	}
	return d.settle(ctx, pathRelease)
}

func (d *delivery) settle(ctx context.Context, path string) error {
	if err := d.client.ask(ctx, http.MethodPost, path, url.Values{"token": {d.token}}, nil); err != nil {
		return err
	}
	// The server now ends its answer with a mark; reading it frees the connection
	// for others. Should it break instead, it is not used again.
	_, _ = io.CopyN(io.Discard, d.resp.Body, int64(len(settledMark)))
	d.end()
	return nil
}

// Watch implements app.Client.
func (c *Client) Watch(ctx context.Context, see func(app.Event) error) error {
	return c.watch(ctx, nil, see)
}

// watch calls see for the events that query is about.
func (c *Client) watch(ctx context.Context, query url.Values, see func(app.Event) error) error {
	scope, cancel := c.scope(ctx)
	defer cancel()
	resp, err := c.do(scope, http.MethodGet, pathEvents, query, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 4096), maxLineBytes)
	for lines.Scan() {
		var line eventLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("reading an event: %w; do perigee and perigeed have the same version?", err)
		}
		if line.Error != nil {
			return line.Error.err()
		}
		if line.Event == nil {
			continue
		}
		if err := see(*line.Event); err != nil {
			return err
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return c.broken(scope, err)
}

// Export implements app.Client. ctx governs the whole reading.
func (c *Client) Export(ctx context.Context, id bundle.ID) (io.ReadCloser, error) {
	scope, cancel := c.scope(ctx)
	resp, err := c.do(scope, http.MethodGet, pathExport, url.Values{"id": {id.String()}}, nil, 0)
	if err != nil {
		cancel()
		return nil, err
	}
	return &content{ReadCloser: resp.Body, cancel: cancel}, nil
}

// content is the body of an answer together with its request.
type content struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c *content) Close() error {
	c.cancel()
	return c.ReadCloser.Close()
}
