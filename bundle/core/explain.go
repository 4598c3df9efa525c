package core

import (
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/route"
)

// ExplainRoute tells how this node would decide at now about a bundle.
func (c *Core) ExplainRoute(q app.RouteQuery, now dtntime.Time) app.RouteExplanation {
	x, err := explainRoute(c.cfg.Node, c.router, q, max(c.now, now))
	if !c.cfg.Flood || !isWayless(err) || q.To.Node() == c.cfg.Node {
		return x
	}
	for _, n := range c.order {
		if !c.isExpected(n) {
			continue
		}
		x.Failure = ""
		x.Candidates = append(x.Candidates, app.RouteCandidate{
			Next: n.Peer, Via: viaFlood, Hops: []app.RouteHop{{To: n.Peer}}, Confidence: 1,
			Verdict: string(route.Taken), Detail: "no route leads there, so a copy that is not under custody goes to every neighbour",
		})
	}
	return x
}

// viaFlood is the reason to send a bundle to a neighbour where no route decides.
const viaFlood = "flood"

// ExplainRoute tells how a node with a router would decide about a bundle.
func ExplainRoute(node bundle.EID, r *route.Router, q app.RouteQuery, now dtntime.Time) app.RouteExplanation {
	x, _ := explainRoute(node, r, q, now)
	return x
}

// explainRoute returns the reason why nothing is taken as an error, too.
func explainRoute(node bundle.EID, r *route.Router, q app.RouteQuery, now dtntime.Time) (app.RouteExplanation, error) {
	lifetime := q.Lifetime
	if lifetime == 0 {
		lifetime = dtntime.Day
	}
	x := app.RouteExplanation{Node: node, To: q.To, Now: now, Candidates: []app.RouteCandidate{}}
	list, err := r.Explain(route.Query{
		Dest: q.To, Size: q.Size, Priority: q.Priority, Expiry: now.Add(lifetime), Critical: q.Critical,
	}, now)
	if err != nil {
		x.Failure = err.Error()
	}
	for _, c := range list {
		candidate := app.RouteCandidate{
			Next: c.Next, Via: string(c.Via), Hops: []app.RouteHop{}, Arrival: c.Arrival, Confidence: c.Confidence,
			Verdict: string(c.Verdict), Detail: c.Detail,
		}
		for _, h := range c.Hops {
			candidate.Hops = append(candidate.Hops, app.HopOver(h.To, h.Contact))
		}
		x.Candidates = append(x.Candidates, candidate)
	}
	return x, err
}
