package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"perigee/agent/agenttest"
	"perigee/bundle/app"
	"perigee/models"
	"perigee/models/payload"
)

// rollBack runs the agent with an operator who wants the network before, until done and
// the operator was told what became of it, which is returned.
func (w *world) rollBack(fuse *agenttest.Fuse, done func() bool) (told error) {
	w.t.Helper()
	var answered atomic.Bool
	w.runAs(fuse, func(a *Agent, ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		answer := make(chan error, 1)
		go func() {
			swapped, err := a.RollBack(ctx, "too many clouds")
			if err == nil && (swapped.Was.Update != 11 || swapped.Flies.Network != w.base.Hash().String() || !swapped.Flies.Active) {
				err = fmt.Errorf("the operator was told of %+v", swapped)
			}
			answer <- err
			answered.Store(true)
		}()
		err := a.Run(ctx)
		cancel()
		told = <-answer
		return err
	}, func() bool { return answered.Load() && done() })
	return told
}

// TestRollBackKilledAnywhere stops the agent before every durable step of a way back
// that the operator wants, who asks again if he has heard nothing.
func TestRollBackKilledAnywhere(t *testing.T) {
	parts := newWorld(t, 0).change(11, 2, nil) // of the same network every time
	for cut := 0; ; cut++ {
		w := newWorld(t, 0)
		w.after(parts)
		done := func() bool { return w.lastReceipt().Status == payload.StatusRolledBack && w.isTidy() }
		fuse := agenttest.NewFuse(cut)
		told := w.rollBack(fuse, done)
		where, blown := fuse.Blown()
		if blown {
			told = w.rollBack(agenttest.NewFuse(-1), done)
		}
		if told != nil && (!blown || !errors.Is(told, app.ErrRejected) && !errors.Is(told, context.Canceled)) {
			t.Fatalf("cut before %q: the operator was told %v", where, told)
		}
		if p := w.pointer(); p.Active.Hash != w.base.Hash() || p.Previous != nil || p.Probation != nil || len(p.Returns) != 0 {
			t.Fatalf("cut before %q: pointer %+v", where, p)
		}
		if r := w.lastReceipt(); r.Update != 11 || r.Active != w.base.Hash() || !strings.Contains(r.Reason, "too many clouds") {
			t.Fatalf("cut before %q: receipt %+v", where, r)
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}

// TestRolledBackStaysOut sends the update of a network that was taken out of use again.
func TestRolledBackStaysOut(t *testing.T) {
	w := newWorld(t, 0)
	parts := w.change(11, 2, nil)
	w.after(parts)
	if err := w.rollBack(agenttest.NewFuse(-1), func() bool { return w.lastReceipt().Status == payload.StatusRolledBack && w.isTidy() }); err != nil {
		t.Fatal(err)
	}
	w.uplink(parts...)
	w.runAll(func() bool { return w.taken() && w.isTidy() })
	if now := w.active(); now.Hash != w.base.Hash() {
		t.Errorf("active %+v, want the network of the launch", now)
	}
	// What comes with a number of its own may fly.
	if r := w.after(w.change(12, 3, nil)); r.Status != payload.StatusActive || r.Update != 12 {
		t.Errorf("receipt %+v", r)
	}
}

func TestRollBackToNothing(t *testing.T) {
	w := newWorld(t, 0)
	told := w.rollBack(agenttest.NewFuse(-1), w.quiet)
	if !errors.Is(told, app.ErrRejected) || !strings.Contains(told.Error(), "no network before version 0") {
		t.Errorf("the operator was told %v", told)
	}
	if now := w.active(); now.Hash != w.base.Hash() || len(w.receipts()) != 0 {
		t.Errorf("active %+v, receipts %+v", now, w.receipts())
	}
}

// TestRefusedRollBackChangesNothing asks for a way back where no other network can be
// read: the one that flies stays, and on probation.
func TestRefusedRollBackChangesNothing(t *testing.T) {
	w := newWorld(t, 0)
	w.after(w.change(11, 2, nil))
	before := w.pointer()
	if before.Probation == nil {
		t.Fatalf("pointer %+v", before)
	}
	if err := os.Truncate(filepath.Join(w.cfg.DataDir, "models", before.Previous.Slot+models.FileExt), 1000); err != nil {
		t.Fatal(err)
	}
	w.cfg.Model = filepath.Join(w.cfg.DataDir, "none.pmodel")
	if told := w.rollBack(agenttest.NewFuse(-1), w.quiet); !errors.Is(told, app.ErrRejected) {
		t.Errorf("the operator was told %v", told)
	}
	if after := w.pointer(); after.Active != before.Active || after.Probation == nil || after.Previous == nil || len(after.Returns) != 0 {
		t.Errorf("pointer %+v, before %+v", after, before)
	}
}
