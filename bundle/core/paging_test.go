package core_test

import (
	"maps"
	"slices"

	"perigee/bundle/core"
	"perigee/bundle/store"
)

// read reads a lane of what the bench stores.
func (b *bench) read(l core.Load) core.Loaded {
	b.loads = append(b.loads, l)
	answer := core.Loaded{Token: l.Token}
	for _, h := range slices.Sorted(maps.Keys(b.stored)) {
		rec := b.stored[h]
		if h <= l.After || rec.Lane() != l.Lane {
			continue
		}
		if len(answer.Records) == l.Limit {
			return answer
		}
		answer.Records = append(answer.Records, rec)
	}
	answer.End = true
	return answer
}

// restore lets the core begin with stored bundles.
func (b *bench) restore(records ...store.Record) {
	lanes := make(map[store.Lane]bool)
	for _, rec := range records {
		b.stored[rec.Handle] = rec
		if !lanes[rec.Lane()] {
			lanes[rec.Lane()] = true
			b.core.Restore(b.now, []store.Lane{rec.Lane()})
		}
	}
}
