package ground

import (
	"os"
	"testing"

	"perigee/agent/agenttest"
	"perigee/models"
	"perigee/models/payload"
)

func TestOnGround(t *testing.T) {
	w := newWorld(t, 12)
	w.downlink(serviceSamples, w.batch(0, 0, 12))
	g, client := w.open(agenttest.NewFuse(-1))
	defer client.Close()
	if on := g.OnGround(); on.Stage != "" || on.Networks == nil || len(on.Networks) != 0 || on.Failure != "" {
		t.Errorf("before the start: %+v", on)
	}
	// Whoever asks does so while the ground works.
	deployed := w.answering(payload.StatusActive, w.rounds(1))
	if err := w.mission.Drive(t.Context(), agenttest.NewFuse(-1), g.Run, func() bool { g.OnGround(); return deployed() }); err != nil {
		t.Fatal(err)
	}
	// What is no network is left out.
	if err := os.WriteFile(g.path("models", "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	on := g.OnGround()
	r := w.state().Rounds[0]
	if on.Version != 2 || on.Failure != "" {
		t.Errorf("after a round: %+v", on)
	}
	kept := map[string]bool{}
	for _, k := range on.Networks {
		kept[k.Network] = k.Bytes > 0
	}
	for _, h := range []models.Hash{w.base.Hash(), r.Model} {
		if !kept[h.String()] {
			t.Errorf("networks %+v, want %v among them", on.Networks, h)
		}
	}
	flies := false
	for _, f := range on.Satellites {
		flies = flies || f.Satellite == satellite() && f.Network == r.Model.String() && f.Version == 1
	}
	if len(on.Satellites) != len(w.cfg.Satellites) || !flies {
		t.Errorf("satellites %+v, want one that flies %v", on.Satellites, r.Model)
	}
}
