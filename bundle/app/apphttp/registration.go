package apphttp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"perigee/bundle/app"
)

// register makes or ends a registration.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	reg := app.Registration{Name: r.URL.Query().Get("name")}
	if err := reg.Endpoint.UnmarshalText([]byte(r.URL.Query().Get("endpoint"))); err != nil {
		return fmt.Errorf("%w: endpoint: %w", errMalformed, err)
	}
	change := s.client.Register
	if r.Method == http.MethodDelete {
		change = s.client.Unregister
	}
	if err := change(r.Context(), reg); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Register implements app.Client.
func (c *Client) Register(ctx context.Context, r app.Registration) error {
	return c.ask(ctx, http.MethodPost, pathRegistration, registrationQuery(r), nil)
}

// Unregister implements app.Client.
func (c *Client) Unregister(ctx context.Context, r app.Registration) error {
	return c.ask(ctx, http.MethodDelete, pathRegistration, registrationQuery(r), nil)
}

func registrationQuery(r app.Registration) url.Values {
	return url.Values{"endpoint": {r.Endpoint.String()}, "name": {r.Name}}
}
