package apphttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// query writes what is asked for beside the payload.
func query(out app.Outgoing) url.Values {
	return url.Values{
		"to":       {out.To.String()},
		"from":     {out.From.String()},
		"reportto": {out.ReportTo.String()},
		"reports":  {strconv.FormatUint(uint64(out.Reports), 10)},
		"custody":  {strconv.FormatBool(out.Custody)},
		"lifetime": {strconv.FormatUint(uint64(out.Lifetime), 10)},
		"priority": {out.Priority.String()},

		"value":      {strconv.FormatUint(out.Value, 10)},
		"critical":   {strconv.FormatBool(out.Critical)},
		"compressed": {strconv.FormatUint(uint64(out.Compressed), 10)},
	}
}

// outgoing reads what query wrote.
func outgoing(values url.Values) (app.Outgoing, error) {
	var out app.Outgoing
	for name, eid := range map[string]*bundle.EID{"to": &out.To, "from": &out.From, "reportto": &out.ReportTo} {
		if err := eid.UnmarshalText([]byte(values.Get(name))); err != nil {
			return out, fmt.Errorf("%w: %s: %w", errMalformed, name, err)
		}
	}
	reports, err := number(values, "reports")
	if err != nil {
		return out, err
	}
	lifetime, err := number(values, "lifetime")
	if err != nil {
		return out, err
	}
	compressed, err := number(values, "compressed")
	if err != nil {
		return out, err
	}
	if out.Value, err = number(values, "value"); err != nil {
		return out, err
	}
	if out.Critical, err = strconv.ParseBool(values.Get("critical")); err != nil {
		return out, fmt.Errorf("%w: critical=%q is neither true nor false", errMalformed, values.Get("critical"))
	}
	out.Reports, out.Lifetime, out.Compressed = bundle.Flags(reports), dtntime.Duration(lifetime), bundle.ReportingFlags(compressed)
	if out.Custody, err = strconv.ParseBool(values.Get("custody")); err != nil {
		return out, fmt.Errorf("%w: custody=%q is neither true nor false", errMalformed, values.Get("custody"))
	}
	if err := out.Priority.UnmarshalText([]byte(values.Get("priority"))); err != nil {
		return out, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return out, nil
}

func (s *Server) send(w http.ResponseWriter, r *http.Request) error {
	out, err := outgoing(r.URL.Query())
	if err != nil {
		return err
	}
	out.Payload = &steadyReader{control: http.NewResponseController(w), body: r.Body, stall: s.Limits.Stall}
	out.Length = r.ContentLength
	id, err := s.client.Send(r.Context(), out)
	if err != nil {
		return err
	}
	return s.answer(w, id)
}

func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	id, err := bundleID(r)
	if err != nil {
		return err
	}
	content, err := s.client.Export(r.Context(), id)
	if err != nil {
		return err
	}
	defer content.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := s.copySteady(s.steady(w), content); err != nil {
		s.abort("exporting bundle "+id.String(), err)
	}
	return nil
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	watch, err := s.watching(r.URL.Query())
	if err != nil {
		return err
	}
	ctx, cancel := s.waiting(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := s.steady(w)
	if err := out.Flush(); err != nil {
		s.abort("beginning an event stream", err)
	}
	lines := json.NewEncoder(out)
	err = watch(ctx, func(event app.Event) error {
		if err := lines.Encode(eventLine{Event: &event}); err != nil {
			return err
		}
		return out.Flush()
	})
	if r.Context().Err() != nil {
		return nil // nobody reads any more
	}
	if err = s.ended(err); err == nil {
		err = fmt.Errorf("%w: the event stream has ended", app.ErrClosed)
	}
	f, _ := failureOf(err)
	if err := lines.Encode(eventLine{Error: &f}); err != nil {
		s.abort("ending an event stream", err)
	}
	return nil
}

// steadyReader reads a request body and fails when it stalls.
type steadyReader struct {
	control *http.ResponseController
	body    io.Reader
	stall   time.Duration
}

func (r *steadyReader) Read(p []byte) (int, error) {
	if err := r.control.SetReadDeadline(time.Now().Add(r.stall)); err != nil {
		return 0, fmt.Errorf("setting the read deadline: %w", err)
	}
	n, err := r.body.Read(p)
	if errors.Is(err, io.EOF) {
		// The connection is kept for another request.
		if derr := r.control.SetReadDeadline(time.Time{}); derr != nil {
			return n, fmt.Errorf("clearing the read deadline: %w", derr)
		}
		return n, err
	}
	if err != nil {
		return n, fmt.Errorf("reading the payload from the application: %w", err)
	}
	return n, nil
}

// steadyWriter writes an answer and fails when the client does not take it.
type steadyWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

func (s *Server) steady(w http.ResponseWriter) *steadyWriter {
	return &steadyWriter{w: w, control: http.NewResponseController(w), stall: s.Limits.Stall}
}

// Write writes p in steps, each of which must be taken in time.
func (w *steadyWriter) Write(p []byte) (int, error) {
	written := 0
	for {
		if err := w.control.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
			return written, fmt.Errorf("setting the write deadline: %w", err)
		}
		n, err := w.w.Write(p[written:min(len(p), written+copyBytes)])
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}

// Flush sends what was written. No deadline is left behind.
func (w *steadyWriter) Flush() error {
	if err := w.control.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
		return fmt.Errorf("setting the write deadline: %w", err)
	}
	if err := w.control.Flush(); err != nil {
		return err
	}
	return w.control.SetWriteDeadline(time.Time{})
}

// copySteady copies src to its end, through one buffer unless it can write itself, and
// flushes.
func (s *Server) copySteady(w *steadyWriter, src io.Reader) (n int64, err error) {
	if direct, ok := src.(io.WriterTo); ok {
		n, err = direct.WriteTo(w)
	} else {
		n, err = s.copier.copy(w, src)
	}
	if err != nil {
		return n, err
	}
	return n, w.Flush()
}

// copier copies payloads in large pieces, through buffers that it keeps. The zero value
// is ready for use.
type copier struct{ buffers sync.Pool } // of *[copyBytes]byte

// copy copies src to its end.
func (c *copier) copy(w io.Writer, src io.Reader) (int64, error) {
	buf, ok := c.buffers.Get().(*[copyBytes]byte)
	if !ok {
		buf = new([copyBytes]byte)
	}
	defer c.buffers.Put(buf)
	// The structs hide other methods, so that the buffer is always used.
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, buf[:])
}

// carryThrough returns a context for a step that is finished even when the one
// who asked is gone.
func carryThrough(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}
