package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
)

// Size of the measure of the store.
const (
	storeWorkers = 256
	storeTime    = 3 * time.Second
	storeRounds  = 3
)

func storeMeasures() []measure {
	return []measure{{
		name: "store.commit_1k", what: "durable puts of 1 kB bundles by 256 at once",
		take: commit1k,
	}}
}

func commit1k(ctx context.Context, b *bench) ([]figure, error) {
	dir, err := b.folder("store")
	if err != nil {
		return nil, err
	}
	s, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		return nil, err
	}
	var rates []float64
	payload := make([]byte, 1000)
	var last atomic.Uint64
	for i := range storeRounds {
		b.progress.note(fmt.Sprintf("round %d of %d", i+1, storeRounds))
		rate, err := putFor(ctx, s, payload, &last)
		if err != nil {
			s.Close() // the error of the puts says more
			return nil, err
		}
		rates = append(rates, rate)
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return []figure{{name: "store.commit_1k", value: median(rates), unit: "bundles/s"}}, nil
}

// putFor puts bundles for storeTime and returns how many a second became durable.
func putFor(ctx context.Context, s store.Store, payload []byte, last *atomic.Uint64) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	var workers sync.WaitGroup
	begin := time.Now()
	for range storeWorkers {
		workers.Go(func() {
			for ctx.Err() == nil && time.Since(begin) < storeTime {
				if err := put(ctx, s, last.Add(1), payload); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds(), context.Cause(ctx)
}

// put makes a bundle with sequence number n durable.
func put(ctx context.Context, s store.Store, n uint64, payload []byte) error {
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC: bundle.CRC32C, Destination: bundle.IPN(2, 11), Source: bundle.IPN(1, 11), Lifetime: dtntime.Day,
			Created: bundle.Timestamp{Time: 1, Sequence: n},
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(payload))},
	}
	raw := b.Append(nil, payload)
	staged, err := s.Stage(int64(len(raw)))
	if err != nil {
		return err
	}
	if _, err := staged.Write(raw); err != nil {
		staged.Discard()
		return err
	}
	return s.Commit(ctx, []store.Op{store.Put{Staged: staged, Record: store.Record{
		Handle: s.NextHandle(), ID: b.ID(), Destination: b.Primary.Destination, Duty: store.DutyForward,
		Priority: bundle.PriorityNormal, Expiry: dtntime.Time(dtntime.Day),
		HeaderLen: int64(b.HeaderLen()), PayloadLen: int64(len(payload)), Size: int64(len(raw)),
	}}})
}
