package dtn7agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"perigee/bundle/app"
)

// Limits of REST.
const (
	// maxRequest is the largest request in bytes. A bundle to be built is held in
	// memory several times.
	maxRequest = 4 << 20
	// maxFetch and maxFetchBytes bound one fetch. A larger bundle comes alone.
	maxFetch      = 64
	maxFetchBytes = 8 << 20
	// fetchWait is how long a fetch waits for the first bundle, and nextWait for
	// each further one.
	fetchWait = 100 * time.Millisecond
	nextWait  = 20 * time.Millisecond
)

// read reads a request into v, or answers that it cannot.
func (a *Agents) read(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(v)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		err = fmt.Errorf("the request has more than %d bytes; send larger bundles over the WebSocket", maxRequest)
	}
	if err != nil {
		a.answer(w, fmt.Errorf("reading the request: %w", err), nil)
	}
	return err == nil
}

// answer writes an answer: the fields of more besides the error, which is empty when
// all went well.
func (a *Agents) answer(w http.ResponseWriter, err error, more map[string]any) {
	fields := map[string]any{"error": ""}
	for key, value := range more {
		fields[key] = value
	}
	if err != nil {
		fields["error"] = err.Error()
		a.log.Debug("refused a dtn7 client's request", "error", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(fields) // the client has gone
}

// register serves /rest/register.
func (a *Agents) register(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Endpoint string `json:"endpoint_id"`
	}
	if !a.read(w, r, &request) {
		return
	}
	uuid := ""
	e, err := a.endpoint(request.Endpoint)
	if err == nil {
		uuid, err = a.enter(e)
	}
	a.answer(w, err, map[string]any{"uuid": uuid})
}

// ofClient is a request of a registered client.
type ofClient struct {
	UUID string         `json:"uuid"`
	Args map[string]any `json:"arguments"` // of build
}

// unregister serves /rest/unregister.
func (a *Agents) unregister(w http.ResponseWriter, r *http.Request) {
	var request ofClient
	if !a.read(w, r, &request) {
		return
	}
	a.leave(request.UUID)
	a.answer(w, nil, nil)
}

// build serves /rest/build.
func (a *Agents) build(w http.ResponseWriter, r *http.Request) {
	var request ofClient
	if !a.read(w, r, &request) {
		return
	}
	client, err := a.client(request.UUID)
	if err != nil {
		a.answer(w, err, nil)
		return
	}
	out, err := built(request.Args, client)
	if err == nil {
		out.Custody = a.cfg.Custody
		_, err = a.cfg.Client.Send(r.Context(), out)
	}
	a.answer(w, err, nil)
}

// fetch serves /rest/fetch. What was written to the client is acknowledged; what was
// not is delivered again.
func (a *Agents) fetch(w http.ResponseWriter, r *http.Request) {
	var request ofClient
	if !a.read(w, r, &request) {
		return
	}
	client, err := a.client(request.UUID)
	if err != nil {
		a.answer(w, err, map[string]any{"bundles": []any{}})
		return
	}
	var taken []*app.Delivery
	var bytes int64
	for wait := fetchWait; len(taken) < maxFetch && bytes < maxFetchBytes; wait = nextWait {
		soon, cancel := context.WithTimeout(r.Context(), wait)
		d, receiveErr := a.cfg.Client.Receive(soon, client)
		cancel()
		if receiveErr != nil {
			if !errors.Is(receiveErr, context.DeadlineExceeded) && len(taken) == 0 {
				err = receiveErr
			}
			break
		}
		d.Payload.Close()
		taken, bytes = append(taken, d), bytes+d.Size
	}
	if err != nil {
		a.answer(w, fmt.Errorf("fetching bundles for %s: %w", client, err), map[string]any{"bundles": []any{}})
		return
	}
	if err := a.writeAll(r.Context(), w, taken); err != nil {
		a.log.Debug("a dtn7 client did not take its bundles; they will be delivered again", "endpoint", client, "error", err)
		for _, d := range taken {
			a.release(d)
		}
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
}

// writeAll writes the answer to a fetch and acknowledges what it holds.
func (a *Agents) writeAll(ctx context.Context, w http.ResponseWriter, taken []*app.Delivery) error {
	w.Header().Set("Content-Type", "application/json")
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(&patient{w, control}, 32<<10)
	_, _ = out.WriteString(`{"error":"","bundles":[`) // Flush tells
	var written []*app.Delivery
	for _, d := range taken {
		err := a.writeJSON(ctx, out, d, len(written) == 0)
		if errors.Is(err, app.ErrNotFound) { // it expired meanwhile
			a.release(d)
			continue
		}
		if err != nil {
			return err
		}
		written = append(written, d)
	}
	_, _ = out.WriteString("]}\n")
	if err := errors.Join(out.Flush(), control.Flush()); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	for _, d := range written {
		a.acknowledge(ctx, d)
	}
	return nil
}

// patient gives each write its time.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(stall)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// acknowledge makes a bundle the client's, even when that goes away just now.
func (a *Agents) acknowledge(ctx context.Context, d *app.Delivery) {
	if err := d.Ack(context.WithoutCancel(ctx)); err != nil {
		a.log.Warn("could not acknowledge a bundle that a dtn7 client has; it may get it again", "bundle", d.ID, "error", err)
		a.release(d)
	}
}

func (a *Agents) release(d *app.Delivery) {
	if err := d.Release(context.Background()); err != nil {
		a.log.Debug("could not release a bundle", "bundle", d.ID, "error", err)
	}
}
