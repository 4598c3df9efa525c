package node

import (
	"context"
	"fmt"

	"perigee/bundle/core"
	"perigee/bundle/store"
)

const (
	restoreBatch = 4096
	// maxLoads is more than the loads that the core has open at a time.
	maxLoads = 16
)

// restore takes up what the store holds: its lanes, not its bundles. Only when the
// counters of custody are lost, all bundles are read.
func (n *Node) restore() error {
	var after store.Lane
	for {
		lanes, err := n.cfg.Store.Lanes(after, restoreBatch)
		if err != nil {
			return fmt.Errorf("reading the lanes of the store: %w", err)
		}
		if len(lanes) == 0 {
			break
		}
		n.core.Restore(n.cfg.Clock.Now(), lanes)
		after = lanes[len(lanes)-1]
	}
	lost, err := n.core.NumbersLost()
	if err != nil || !lost {
		return err
	}
	n.log.Warn("the custody numbers are lost; reading those of all stored bundles")
	return n.readNumbers()
}

func (n *Node) readNumbers() error {
	var after store.Handle
	for {
		records, err := n.cfg.Store.Scan(after, restoreBatch)
		if err != nil {
			return fmt.Errorf("reading the bundles in the store: %w", err)
		}
		if len(records) == 0 {
			return nil
		}
		n.core.Seen(records)
		after = records[len(records)-1].Handle
	}
}

// load reads lanes for the core until ctx ends.
func (n *Node) load(ctx context.Context) {
	for {
		select {
		case x := <-n.loads:
			answer := core.Loaded{Token: x.Token}
			answer.Records, answer.Err = n.cfg.Store.ScanLane(x.Lane, x.After, x.Limit)
			answer.End = len(answer.Records) < x.Limit
			if answer.Err != nil {
				n.log.Error("could not read stored bundles; trying again soon", "lane", x.Lane, "error", answer.Err)
			}
			n.post(input{event: answer})
		case <-ctx.Done():
			return
		}
	}
}
