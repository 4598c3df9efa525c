package apphttp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"perigee/bundle"
	"perigee/bundle/app"
)

// pathLink is where the operator holds links down.
const pathLink = "/v1/link"

// aboutLinks asks for the events of links and contacts alone.
const aboutLinks = "links"

// holdLink holds a link down or gives it back.
func (s *Server) holdLink(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	peer, err := bundle.ParseEID(query.Get("peer"))
	if err != nil {
		return fmt.Errorf("%w: peer: %w", errMalformed, err)
	}
	held, err := strconv.ParseBool(query.Get("held"))
	if err != nil {
		return fmt.Errorf("%w: held=%q is neither true nor false", errMalformed, query.Get("held"))
	}
	if err := s.client.HoldLink(r.Context(), peer, held); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// HoldLink implements app.Client.
func (c *Client) HoldLink(ctx context.Context, peer bundle.EID, held bool) error {
	return c.ask(ctx, http.MethodPut, pathLink, url.Values{"peer": {peer.String()}, "held": {strconv.FormatBool(held)}}, nil)
}

// watching is what a request for events is about.
func (s *Server) watching(query url.Values) (func(context.Context, func(app.Event) error) error, error) {
	switch about := query.Get("about"); about {
	case "":
		return s.client.Watch, nil
	case aboutLinks:
		return s.client.WatchLinks, nil
	default:
		return nil, fmt.Errorf("%w: events about %q are not known", errMalformed, about)
	}
}

// WatchLinks implements app.Client.
func (c *Client) WatchLinks(ctx context.Context, see func(app.Event) error) error {
	return c.watch(ctx, url.Values{"about": {aboutLinks}}, see)
}
