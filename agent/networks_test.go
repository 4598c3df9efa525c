package agent

import (
	"os"
	"path/filepath"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle/app"
	"perigee/models/payload"
)

// onBoard returns what an agent that has not been run says of the data folder.
func (w *world) onBoard() *app.OnBoard {
	w.t.Helper()
	client := w.mission.Open(satellite(), agenttest.NewFuse(-1))
	defer client.Close()
	a, err := New(w.cfg, Parts{Client: client, Clock: w.mission.Clock})
	if err != nil {
		w.t.Fatal(err)
	}
	return a.OnBoard()
}

func TestOnBoard(t *testing.T) {
	w := newWorld(t, 4)
	if on := w.onBoard(); on.Slots == nil || len(on.Slots) != 0 || on.Failure != "" {
		t.Errorf("before the first start: %+v", on)
	}
	if r := w.after(w.change(17, 3, nil)); r.Status != payload.StatusActive {
		t.Fatalf("receipt %+v", r)
	}
	on := w.onBoard()
	if len(on.Slots) != 2 || on.Failure != "" {
		t.Fatalf("after an update: %+v", on)
	}
	now := w.active()
	want := app.Slot{Slot: now.Slot, Active: true, Network: now.Hash.String(), Version: 3, Update: 17, PicturesLeft: on.Slots[0].PicturesLeft}
	if on.Slots[0] != want {
		t.Errorf("active slot %+v, want %+v", on.Slots[0], want)
	}
	if most := uint64(w.cfg.Updates.Watchdog.Pictures); want.PicturesLeft == 0 || want.PicturesLeft > most {
		t.Errorf("%d pictures of probation left, want 1 to %d", want.PicturesLeft, most)
	}
	if old := on.Slots[1]; old != (app.Slot{Slot: old.Slot, Network: w.base.Hash().String()}) || old.Slot == now.Slot {
		t.Errorf("slot to go back to %+v", old)
	}
}

// TestOnBoardOfDamagedPointer: what cannot be read is said and not taken for empty.
func TestOnBoardOfDamagedPointer(t *testing.T) {
	w := newWorld(t, 1)
	path := filepath.Join(w.cfg.DataDir, "models", "active.json")
	if _, err := (durable.Disk{}).OpenDir(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"active":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if on := w.onBoard(); on.Failure == "" || len(on.Slots) != 0 {
		t.Errorf("of a damaged file: %+v", on)
	}
}
