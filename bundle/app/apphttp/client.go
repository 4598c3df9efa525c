package apphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/store"
)

// Client is the application interface of a daemon behind a Unix socket.
type Client struct {
	socket string
	http   *http.Client
	alive  context.Context // ends with Close
	close  context.CancelFunc
	idle   func()

	dialing chan struct{} // held by the one that opens the pipe
	mu      sync.Mutex    // guards pipe
	pipe    *clientPipe   // nil before the first use
}

var _ app.Client = (*Client)(nil)

// Dial returns a client of the daemon at the socket. It connects when it is first
// used; while no daemon answers, calls fail with app.ErrUnreachable. Close ends
// calls under way and gives back deliveries that are not settled.
func Dial(socket string) *Client {
	var dialer net.Dialer
	copier := new(copier)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, err
			}
			return payloadConn{conn, copier}, nil
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         bufferBytes,
		WriteBufferSize:        bufferBytes,
	}
	alive, cancel := context.WithCancel(context.Background())
	return &Client{
		socket: socket,
		http:   &http.Client{Transport: transport},
		alive:  alive,
		close:  cancel,
		idle:   transport.CloseIdleConnections,

		dialing: make(chan struct{}, 1),
	}
}

// payloadConn takes payloads in large pieces. What the transport copies by itself are
// small ones, each of which wakes the daemon.
type payloadConn struct {
	net.Conn
	copier *copier
}

// ReadFrom implements io.ReaderFrom.
func (c payloadConn) ReadFrom(r io.Reader) (int64, error) { return c.copier.copy(c.Conn, r) }

// Close implements app.Client.
func (c *Client) Close() error {
	c.close()
	c.idle()
	c.mu.Lock()
	p := c.pipe
	c.mu.Unlock()
	if p != nil {
		p.close()
	}
	return nil
}

// scope returns a context for one request that ends with ctx and with the client.
func (c *Client) scope(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.alive, cancel)
	return ctx, func() { stop(); cancel() }
}

// do sends a request and returns the answer if it is a success. The caller closes
// its body.
func (c *Client) do(ctx context.Context, method, path string, values url.Values, body io.Reader, length int64,
) (*http.Response, error) {
	target := url.URL{Scheme: "http", Host: "perigee", Path: path, RawQuery: values.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("asking the daemon for %s: %w", path, err)
	}
	if body != nil {
		req.ContentLength = length
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readFailure(resp)
	}
	return resp, nil
}

// broken explains a request that got no answer or only a part of it.
func (c *Client) broken(ctx context.Context, err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // the address in it is made up
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		err = dial.Err // the socket is named below
	}
	switch {
	case c.alive.Err() != nil:
		return fmt.Errorf("%w: this client of %s was closed", app.ErrClosed, c.socket)
	case ctx.Err() != nil:
		return fmt.Errorf("waiting for the daemon at %s: %w", c.socket, ctx.Err())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w at %s: %w; join the group that owns the socket", app.ErrUnreachable, c.socket, err)
	}
	return fmt.Errorf("%w at %s: %w; is perigeed running?", app.ErrUnreachable, c.socket, err)
}

// ask sends a request without a body and reads the JSON answer into result, if
// there is one.
func (c *Client) ask(ctx context.Context, method, path string, values url.Values, result any) error {
	ctx, cancel := c.scope(ctx)
	defer cancel()
	resp, err := c.do(ctx, method, path, values, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if result == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSONBytes+1))
	if err != nil {
		return c.broken(ctx, err)
	}
	if len(body) > maxJSONBytes {
		return fmt.Errorf("answer of the daemon to %s has more than %d bytes", path, maxJSONBytes)
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(result); err != nil {
		return fmt.Errorf("reading the daemon's answer to %s: %w; do perigee and perigeed have the same version?", path, err)
	}
	return nil
}

// Status implements app.Client.
func (c *Client) Status(ctx context.Context) (app.Status, error) {
	var status app.Status
	err := c.ask(ctx, http.MethodGet, pathStatus, nil, &status)
	return status, err
}

// Bundles implements app.Client. At most 10,000 records come at once.
func (c *Client) Bundles(ctx context.Context, after store.Handle, limit int) ([]store.Record, error) {
	var records []store.Record
	err := c.ask(ctx, http.MethodGet, pathBundles, url.Values{
		"after": {strconv.FormatUint(uint64(after), 10)},
		"limit": {strconv.Itoa(max(limit, 0))},
	}, &records)
	return records, err
}

// Bundle implements app.Client.
func (c *Client) Bundle(ctx context.Context, id bundle.ID) (app.Trace, error) {
	var trace app.Trace
	err := c.ask(ctx, http.MethodGet, pathBundle, url.Values{"id": {id.String()}}, &trace)
	return trace, err
}

// Remove implements app.Client.
func (c *Client) Remove(ctx context.Context, id bundle.ID) error {
	return c.ask(ctx, http.MethodDelete, pathBundle, url.Values{"id": {id.String()}}, nil)
}

// Verify implements app.Client.
func (c *Client) Verify(ctx context.Context) (store.Report, error) {
	var report store.Report
	err := c.ask(ctx, http.MethodPost, pathVerify, nil, &report)
	return report, err
}
