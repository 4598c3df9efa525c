package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
)

// What routes are searched in: a plan of a day.
const (
	routeNodes    = 100
	routeContacts = 1000
	routeRounds   = 50
	cachedBatch   = 1000 // too short to be timed one by one
)

func routeMeasures() []measure {
	return []measure{{
		name: "route",
		what: "a route search in a plan of 1,000 contacts among 100 nodes in ms, and the answer from memory in us",
		bars: map[string]bar{
			"route.search_1000": {value: limit{1, atMost}},
			"route.cached":      {value: limit{20, atMost}},
		},
		take: routeSearch,
	}}
}

// routeSearch searches a way to every node. Of the search the slowest destination counts,
// each by the median of its rounds.
func routeSearch(_ context.Context, _ *bench) ([]figure, error) {
	plan, err := routePlan()
	if err != nil {
		return nil, err
	}
	r := route.New(bundle.IPN(1, 0), nil)
	r.SetPlan(plan)
	// The first search lays the plan out, which the node does once.
	_, _ = r.Next(routeQuery(2), 0)
	slowest, reached := 0.0, 0
	for to := uint64(2); to <= routeNodes; to++ {
		q := routeQuery(to)
		var rounds []float64
		for k := range routeRounds {
			// What was found for a later time answers nothing for an earlier one.
			now := dtntime.Time(routeRounds - k)
			began := time.Now()
			_, err := r.Next(q, now)
			rounds = append(rounds, float64(time.Since(began))/float64(time.Millisecond))
			switch {
			case err == nil && k == 0:
				reached++
			case err != nil && !errors.Is(err, route.ErrNoRoute):
				return nil, fmt.Errorf("searching a way to %s: %w", q.Dest, err)
			}
		}
		slowest = max(slowest, median(rounds))
	}
	if reached < routeNodes/2 {
		return nil, fmt.Errorf("only %d of %d nodes can be reached in the plan, so the searches were short", reached, routeNodes-1)
	}
	return []figure{
		{name: "route.search_1000", value: slowest, unit: "ms"},
		{name: "route.cached", value: cachedAnswer(r), unit: "us"},
	}, nil
}

// cachedAnswer asks again for ways that are known.
func cachedAnswer(r *route.Router) float64 {
	var rounds []float64
	for range routeRounds {
		began := time.Now()
		for k := range cachedBatch {
			_, _ = r.Next(routeQuery(2+uint64(k)%(routeNodes-1)), routeRounds)
		}
		rounds = append(rounds, float64(time.Since(began))/cachedBatch/float64(time.Microsecond))
	}
	return median(rounds)
}

func routeQuery(to uint64) route.Query {
	return route.Query{Dest: bundle.IPN(to, 1), Size: 100_000, Priority: bundle.PriorityNormal, Expiry: dtntime.Forever}
}

// routePlan makes contacts of eight minutes between random nodes, spread over a day.
func routePlan() (*contact.Plan, error) {
	const span = 8 * dtntime.Minute
	rng := rand.New(rand.NewPCG(1, 2))
	var contacts []contact.Contact
	taken := map[[3]uint64]bool{}
	for len(contacts) < routeContacts {
		from, to := 1+rng.Uint64N(routeNodes), 1+rng.Uint64N(routeNodes)
		slot := rng.Uint64N(uint64(dtntime.Day / span))
		at := [3]uint64{from, to, slot}
		if from == to || taken[at] {
			continue
		}
		taken[at] = true
		start := dtntime.Time(slot)*dtntime.Time(span) + 1000
		contacts = append(contacts, contact.Contact{
			From: bundle.IPN(from, 0), To: bundle.IPN(to, 0), Start: start, End: start.Add(span - dtntime.Second),
			Rate: contact.MegabitPerSecond, Light: 5, Confidence: 1,
		})
	}
	return contact.New(contacts)
}
