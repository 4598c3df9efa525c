package core

import (
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bpsec"
	"perigee/bundle/custody"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// administer takes an administrative record for this node.
func (c *Core) administer(a *Arrival) {
	cp := c.peerOf(a.Bundle.Primary.Source).Points
	rec, err := cp.ParseAdminRecord(a.Admin, c.cfg.Node)
	if err != nil {
		if isCustodySignal(a.Admin, cp.CustodySignal) {
			c.reject(custody.RejectMalformed)
		}
		c.turnAway(a, a.Bundle.ID(), unacceptable("administrative record in %s: %w", a.Bundle.ID(), err))
		return
	}
	switch {
	case rec.CustodySignal != nil:
		c.signalled(a, rec.CustodySignal)
	case rec.ReportingSignal != nil:
		c.toldOf(a, rec.ReportingSignal)
	case rec.Status != nil:
		c.notifyStatus(a.Bundle.Primary.Source, rec.Status)
		c.do(Reply{Token: a.Token})
	default:
		c.do(Reply{Token: a.Token})
	}
}

// isCustodySignal tells whether an administrative record, which need not be
// well-formed, begins as a custody signal does.
func isCustodySignal(record []byte, kind uint64) bool {
	return len(record) > 1 && (record[0] == 0x82 || record[0] == 0x9f) && uint64(record[1]) == kind
}

// notifyStatus tells watchers what a status report says.
func (c *Core) notifyStatus(from bundle.EID, s *bundle.StatusReport) {
	for _, item := range []struct {
		asserted bool
		what     string
	}{
		{s.Received.Asserted, "received"},
		{s.Forwarded.Asserted, "forwarded"},
		{s.Delivered.Asserted, "delivered"},
		{s.Deleted.Asserted, "deleted"},
	} {
		if item.asserted {
			c.notify(app.EventReported, s.Bundle, from, 0, fmt.Sprintf("%s, %s", item.what, s.Reason))
		}
	}
}

// originate sends an administrative record: of the highest priority, never in
// custody, and signed if there is a key.
func (c *Core) originate(to bundle.EID, record []byte, lifetime dtntime.Duration, key *bpsec.Key) {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			Flags: bundle.FlagAdminRecord | bundle.FlagMustNotFragment, CRC: bundle.CRC32C,
			Destination: to, Source: c.cfg.Node, Created: c.cfg.Stamp(c.now), Lifetime: lifetime,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(record))},
	}
	b.SetExtension(bundle.PriorityBlock(0, bundle.PriorityExpedited))
	aged := b.Primary.Created.Time == 0
	if aged {
		b.SetExtension(bundle.BundleAgeBlock(0, 0))
	}
	if key != nil {
		if err := bpsec.Sign(&b, record, c.cfg.Node, *key); err != nil {
			return // a key that was made by NewKey signs
		}
	}
	raw := b.Append(nil, record)
	rec := store.Record{
		Handle: c.cfg.NextHandle(), ID: b.ID(), Destination: to, Flags: b.Primary.Flags,
		Priority: bundle.PriorityExpedited, Duty: c.dutyOf(to),
		Received: c.now, Expiry: b.Expiry(c.now), HasAge: aged,
		HeaderLen: int64(b.HeaderLen()), PayloadLen: int64(len(record)), Size: int64(len(raw)),
	}
	c.persist(0, raw, func(err error) {
		if err == nil {
			c.admit(rec)
		}
	}, store.Put{Record: rec})
}
