package apphttp

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// pathRoute is where the node explains which way a bundle would go.
const pathRoute = "/v1/route"

// explainRoute answers a RouteQuery.
func (s *Server) explainRoute(w http.ResponseWriter, r *http.Request) error {
	q, err := routeQuery(r.URL.Query())
	if err != nil {
		return err
	}
	explanation, err := s.client.ExplainRoute(r.Context(), q)
	if err != nil {
		return err
	}
	return s.answer(w, explanation)
}

// routeValues and routeQuery turn a RouteQuery into a query and back.
func routeValues(q app.RouteQuery) url.Values {
	return url.Values{
		"to": {q.To.String()}, "size": {strconv.FormatInt(max(q.Size, 0), 10)}, "priority": {q.Priority.String()},
		"lifetime": {strconv.FormatUint(uint64(q.Lifetime), 10)}, "critical": {strconv.FormatBool(q.Critical)},
	}
}

func routeQuery(values url.Values) (app.RouteQuery, error) {
	var q app.RouteQuery
	var err error
	if q.To, err = bundle.ParseEID(values.Get("to")); err != nil {
		return q, fmt.Errorf("%w: to: %w", errMalformed, err)
	}
	size, err := number(values, "size")
	if err != nil {
		return q, err
	}
	lifetime, err := number(values, "lifetime")
	if err != nil {
		return q, err
	}
	q.Size, q.Lifetime = int64(min(size, math.MaxInt64)), dtntime.Duration(lifetime)
	if err := q.Priority.UnmarshalText([]byte(values.Get("priority"))); err != nil {
		return q, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if q.Critical, err = strconv.ParseBool(values.Get("critical")); err != nil {
		return q, fmt.Errorf("%w: critical=%q is neither true nor false", errMalformed, values.Get("critical"))
	}
	return q, nil
}

// ExplainRoute implements app.Client.
func (c *Client) ExplainRoute(ctx context.Context, q app.RouteQuery) (app.RouteExplanation, error) {
	var x app.RouteExplanation
	err := c.ask(ctx, http.MethodGet, pathRoute, routeValues(q), &x)
	return x, err
}
