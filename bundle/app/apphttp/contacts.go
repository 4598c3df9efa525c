package apphttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"perigee/bundle/app"
	"perigee/bundle/contact"
)

// pathPlan is where the contact plan is, in its text form.
const pathPlan = "/v1/plan"

func (s *Server) plan(w http.ResponseWriter, r *http.Request) error {
	plan, err := s.client.Plan(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	steady := s.steady(w)
	out := bufio.NewWriterSize(steady, bufferBytes)
	_, err = plan.WriteTo(out)
	if err := errors.Join(err, out.Flush(), steady.Flush()); err != nil {
		s.abort("sending the contact plan", err)
	}
	return nil
}

func (s *Server) setPlan(w http.ResponseWriter, r *http.Request) error {
	was, err := number(r.URL.Query(), "was")
	if err != nil {
		return err
	}
	body := &io.LimitedReader{
		R: &steadyReader{control: http.NewResponseController(w), body: r.Body, stall: s.Limits.Stall},
		N: maxJSONBytes + 1,
	}
	plan, err := contact.Parse(body)
	switch {
	case body.N <= 0:
		return fmt.Errorf("%w: a contact plan of more than %d bytes", errMalformed, maxJSONBytes)
	case errors.Is(err, contact.ErrPlan):
		return fmt.Errorf("%w: %w", errMalformed, err)
	case err != nil:
		return err
	}
	if err := s.client.SetPlan(r.Context(), plan, was); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Plan implements app.Client.
func (c *Client) Plan(ctx context.Context) (*contact.Plan, error) {
	ctx, cancel := c.scope(ctx)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, pathPlan, nil, nil, 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	plan, err := contact.Parse(resp.Body)
	switch {
	case errors.Is(err, contact.ErrPlan):
		return nil, fmt.Errorf("reading the daemon's contact plan: %w; do perigee and perigeed have the same version?", err)
	case err != nil:
		return nil, c.broken(ctx, err)
	}
	return plan, nil
}

// SetPlan implements app.Client.
func (c *Client) SetPlan(ctx context.Context, plan *contact.Plan, was uint64) error {
	ctx, cancel := c.scope(ctx)
	defer cancel()
	var text bytes.Buffer
	if _, err := plan.WriteTo(&text); err != nil {
		return err
	}
	if text.Len() > maxJSONBytes {
		return fmt.Errorf("%w: a contact plan of %d bytes is longer than the limit of %d", app.ErrRejected, text.Len(), maxJSONBytes)
	}
	values := url.Values{"was": {strconv.FormatUint(was, 10)}}
	resp, err := c.do(ctx, http.MethodPut, pathPlan, values, &text, int64(text.Len()))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
