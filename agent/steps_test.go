package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/payload"
)

// taken tells that every part was taken.
func (w *world) taken() bool { return w.mission.Queued(satellite().WithService(ServiceModels)) == 0 }

// told returns the steps that receipts called active, each once, in order.
func (w *world) told() []uint32 {
	w.t.Helper()
	var steps []uint32
	for _, r := range w.receipts() {
		if r.Status == payload.StatusActive && !slices.Contains(steps, r.Step) {
			steps = append(steps, r.Step)
		}
	}
	return steps
}

func TestStepsAreUsedAsTheyCome(t *testing.T) {
	w := newWorld(t, 0)
	steps := w.steps(11, 2, false, nil)
	w.uplink(steps[0]...)
	w.uplink(steps[1][1])
	w.runAll(func() bool { return w.taken() && len(w.told()) == 1 })
	if now := w.active(); now.Hash != steps[0][0].Result || now.Version != 2 || now.Update != 11 {
		t.Errorf("active %+v, want the first step", now)
	}
	if r := w.lastReceipt(); r.Step != 0 || r.Active != steps[0][0].Result {
		t.Errorf("receipt %+v", r)
	}
	// The last step is of no use before the one between is whole.
	w.uplink(steps[2]...)
	w.runAll(w.taken)
	if now := w.active(); now.Hash != steps[0][0].Result {
		t.Errorf("active %+v, want the first step still", now)
	}
	w.uplink(steps[1][0])
	w.runAll(func() bool { return w.taken() && len(w.told()) == 2 })
	if got := w.told(); !slices.Equal(got, []uint32{0, 2}) {
		t.Errorf("steps %v were told, want the first and the last", got)
	}
	if now := w.active(); now.Hash != steps[2][0].Result {
		t.Errorf("active %+v, want the last step", now)
	}
	if left, err := durable.Names(filepath.Join(w.cfg.DataDir, "updates")); err != nil || !slices.Equal(left, []string{"ended.json"}) {
		t.Errorf("update folder holds %v, %v", left, err)
	}
}

func TestDraftsAreNotUsed(t *testing.T) {
	w := newWorld(t, 0)
	steps := w.steps(11, 2, true, nil)
	w.uplink(steps[0]...)
	w.runAll(w.taken)
	if now := w.active(); now.Hash != w.base.Hash() || len(w.receipts()) != 0 {
		t.Errorf("active %+v, receipts %+v", now, w.receipts())
	}
	w.uplink(steps[1]...)
	w.runAll(func() bool { return w.taken() && len(w.told()) == 1 })
	if now := w.active(); now.Hash != steps[1][0].Result || w.told()[0] != 1 {
		t.Errorf("active %+v, steps %v", now, w.told())
	}
}

// TestStepThatFailsItsSelfTest goes on with the next one, and keeps what was
// reached when the last one fails.
func TestStepThatFailsItsSelfTest(t *testing.T) {
	spoil := func(parts []payload.ModelPart) {
		for i := range parts {
			parts[i].Golden.MinF1 = 0.99
		}
	}
	t.Run("first", func(t *testing.T) {
		w := newWorld(t, 0)
		steps := w.steps(11, 2, false, nil)
		spoil(steps[0])
		w.uplink(steps[0]...)
		w.runAll(w.taken)
		if now := w.active(); now.Hash != w.base.Hash() || len(w.receipts()) != 0 {
			t.Errorf("active %+v, receipts %+v", now, w.receipts())
		}
		w.uplink(slices.Concat(steps[1], steps[2])...)
		w.runAll(func() bool { return w.taken() && slices.Contains(w.told(), 2) })
		if now := w.active(); now.Hash != steps[2][0].Result {
			t.Errorf("active %+v", now)
		}
	})
	t.Run("last", func(t *testing.T) {
		w := newWorld(t, 0)
		steps := w.steps(11, 2, false, nil)
		spoil(steps[2])
		w.uplink(slices.Concat(steps...)...)
		w.runAll(func() bool { return w.taken() && w.isTidy() && len(w.receipts()) == 3 })
		r := w.lastReceipt()
		if r.Status != payload.StatusRefused || r.Active != steps[1][0].Result || r.ActiveVersion != 2 || !strings.Contains(r.Reason, "self-test") {
			t.Errorf("receipt %+v", r)
		}
		if now := w.active(); now.Hash != steps[1][0].Result {
			t.Errorf("active %+v, want the step before", now)
		}
	})
}

func TestStepsThatDoNotJoin(t *testing.T) {
	w := newWorld(t, 0)
	steps := w.steps(11, 2, false, nil)
	for i := range steps[1] {
		steps[1][i].Base = models.HashBytes([]byte("other"))
	}
	w.uplink(steps[0][0], steps[1][0])
	w.runAll(func() bool { return w.taken() && len(w.receipts()) > 0 })
	if r := w.lastReceipt(); r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "different wholes") {
		t.Errorf("receipt %+v", r)
	}
}

func TestAllStepsCountForTheLimit(t *testing.T) {
	w := newWorld(t, 0)
	steps := w.steps(11, 2, false, nil)
	w.cfg.Updates.MaxBytes = int64(steps[0][0].Size + steps[1][0].Size - 1)
	w.uplink(steps[0][0], steps[1][0])
	w.runAll(func() bool { return w.taken() && len(w.receipts()) > 0 })
	if r := w.lastReceipt(); r.Status != payload.StatusRefused || !strings.Contains(r.Reason, "limit") {
		t.Errorf("receipt %+v", r)
	}
}

// TestStepsKilledAnywhere stops the agent before every durable step of taking in
// an update in steps, and checks that the next run ends the same and that the
// ground hears of what is active.
func TestStepsKilledAnywhere(t *testing.T) {
	steps := newWorld(t, 0).steps(11, 2, true, nil) // of the same network every time
	for cut := 0; ; cut++ {
		w := newWorld(t, 0)
		w.uplink(slices.Concat(steps...)...)
		done := func() bool { return w.taken() && w.isTidy() && slices.Contains(w.told(), 2) }
		fuse := agenttest.NewFuse(cut)
		w.run(fuse, done)
		where, blown := fuse.Blown()
		w.runAll(done)
		if now := w.active(); now.Hash != steps[2][0].Result || now.Version != 2 {
			t.Fatalf("cut before %s: active %+v", where, now)
		}
		told := w.told()
		if !slices.Equal(told, []uint32{1, 2}) && !slices.Equal(told, []uint32{2}) || len(w.receipts()) > 4 {
			t.Fatalf("cut before %s: %d receipts about steps %v", where, len(w.receipts()), told)
		}
		if !blown {
			t.Logf("%d steps", fuse.Steps())
			return
		}
	}
}

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// trust writes the public part of keys into a file.
func (w *world) trust(keys ...ed25519.PrivateKey) {
	w.t.Helper()
	var text []byte
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			w.t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	path := filepath.Join(agenttest.TempDir(w.t), "keys.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.cfg.Updates.Keys = []string{path}
}

func TestSignedUpdates(t *testing.T) {
	key, other := testKey(1), testKey(2)
	for name, test := range map[string]struct {
		trusted  []ed25519.PrivateKey
		unsigned bool // allowed
		by       ed25519.PrivateKey
		spoil    func(*payload.ModelPart)
		reason   string // of the refusal, or empty when it is used
	}{
		"signed":                              {trusted: []ed25519.PrivateKey{other, key}, by: key},
		"not signed":                          {trusted: []ed25519.PrivateKey{key}, reason: "not signed"},
		"no keys":                             {by: key, reason: "not signed by a trusted key"},
		"signed by another":                   {trusted: []ed25519.PrivateKey{key}, by: other, reason: "not signed by a trusted key"},
		"signed by another, unsigned allowed": {trusted: []ed25519.PrivateKey{key}, by: other, unsigned: true, reason: "trusted"},
		"not signed, unsigned allowed":        {trusted: []ed25519.PrivateKey{key}, unsigned: true},
		"signed, everything allowed":          {by: key, unsigned: true},
		"another threshold": {
			trusted: []ed25519.PrivateKey{key}, by: key, reason: "signed was",
			spoil: func(p *payload.ModelPart) { p.Golden.Threshold = 0.2 },
		},
		"another version": {
			trusted: []ed25519.PrivateKey{key}, by: key, reason: "signed was",
			spoil: func(p *payload.ModelPart) { p.Version = 9 },
		},
		"a draft passed off": {
			trusted: []ed25519.PrivateKey{key}, by: key, reason: "signed was",
			spoil: func(p *payload.ModelPart) { p.Draft = false },
		},
		"whole model": {
			trusted: []ed25519.PrivateKey{key}, by: key, reason: "whole models are not signed",
			spoil: func(p *payload.ModelPart) { p.Type, p.Steps, p.Draft = payload.UpdateModel, 1, false },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0)
			w.cfg.Updates.AllowUnsigned = test.unsigned
			if test.trusted != nil {
				w.trust(test.trusted...)
			}
			steps := w.steps(11, 2, name == "a draft passed off", test.by)
			if test.spoil != nil {
				for i := range steps[0] {
					test.spoil(&steps[0][i])
				}
			}
			w.uplink(steps[0]...)
			w.runAll(func() bool { return w.taken() && len(w.receipts()) > 0 && w.isTidy() })
			r := w.lastReceipt()
			if test.reason == "" && (r.Status != payload.StatusActive || r.Active != steps[0][0].Result) {
				t.Errorf("receipt %+v", r)
			}
			if test.reason != "" && (r.Status != payload.StatusRefused || !strings.Contains(r.Reason, test.reason)) {
				t.Errorf("receipt %+v, want a refusal about %q", r, test.reason)
			}
		})
	}
}
