package ground

import (
	"context"

	"perigee/ground/uplink"
)

// foresee chooses how large the parts of the update are, and says in which pass each
// satellite will have it in use. It is a forecast: without one the update goes as
// configured.
func (g *Ground) foresee(ctx context.Context, next *state) {
	next.PartBytes = g.cfg.Send.PartBytes
	status, err := g.client.Status(ctx)
	if err != nil {
		g.log.Warn("the node does not say what passes come; nothing is foreseen", "err", err)
		return
	}
	links := make([]uplink.Link, len(next.Targets))
	for i, t := range next.Targets {
		for _, c := range status.Contacts {
			if c.To.Node() == t.Node.Node() {
				links[i].Windows = append(links[i].Windows, uplink.Window{Start: c.Start, End: c.End, Rate: c.RateBPS})
			}
		}
		for _, l := range status.Links {
			if l.Peer.Node() == t.Node.Node() {
				links[i].Queued += l.QueuedBytes
			}
		}
		next.PartBytes = min(next.PartBytes, uplink.PartBytes(links[i], status.Now, g.cfg.Send.PartBytes))
	}
	for i, t := range next.Targets {
		_, steps := next.steps(&t)
		var sizes []int64
		for j := range steps {
			sizes = append(sizes, steps[j].Bytes)
		}
		arrivals, err := uplink.Foresee(links[i], status.Now, sizes, next.PartBytes)
		if err != nil {
			g.log.Warn("nothing is foreseen", "node", t.Node, "err", err)
			continue
		}
		first, last := arrivals[0], arrivals[len(arrivals)-1]
		if last.Pass == 0 {
			g.log.Info("the update is not whole within the passes that are known", "node", t.Node, "passes", len(links[i].Windows))
			continue
		}
		g.log.Info("update foreseen", "node", t.Node, "part_bytes", next.PartBytes,
			"first_step_pass", first.Pass, "first_step_active", first.Active, "last_step_pass", last.Pass, "last_step_active", last.Active)
	}
}
