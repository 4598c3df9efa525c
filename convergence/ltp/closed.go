package ltp

import (
	"time"

	"perigee/convergence"
)

// A closedBlock is what is remembered of a block of the peer that is settled, so
// that segments that come late are answered and do not begin it anew.
type closedBlock struct {
	checkpoint uint64 // the latest one that was seen, or 0
	cancelled  bool
	reason     CancelReason // when cancelled
	refused    convergence.RefuseReason

	// The last report, when the block was received. None for green blocks.
	serial, answers, end uint64
	refusals             []refusal
}

// report is the last report about the block.
func (c closedBlock) report() *report {
	return &report{
		serial: c.serial, checkpoint: c.answers, scope: span{0, c.end},
		claims: []span{{0, c.end}}, refusals: c.refusals,
	}
}

// closedBlocks are the last of them, up to a number and a time.
type closedBlocks struct {
	bySession map[uint64]closedBlock
	order     queue[closedAt]
}

type closedAt struct {
	session uint64
	at      time.Duration
}

// add remembers a block until a later add or prune forgets it.
func (c *closedBlocks) add(session uint64, b closedBlock, now time.Duration) {
	if _, ok := c.bySession[session]; !ok {
		c.order.push(closedAt{session, now})
	}
	c.bySession[session] = b
	if c.order.len() > maxClosed {
		c.forget()
	}
}

func (c *closedBlocks) find(session uint64) (closedBlock, bool) {
	b, ok := c.bySession[session]
	return b, ok
}

// prune forgets what was closed before a time.
func (c *closedBlocks) prune(before time.Duration) {
	for c.order.len() > 0 && c.order.at(0).at < before {
		c.forget()
	}
}

func (c *closedBlocks) forget() { delete(c.bySession, c.order.pop().session) }
