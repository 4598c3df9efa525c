package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
)

// The two nodes.
var (
	groundNode    = bundle.IPN(1, 0)
	satelliteNode = bundle.IPN(2, 0)
)

// table is a table of a daemon's configuration file.
type table = map[string]any

// common is the part of a configuration that both daemons share.
func common(id bundle.EID) table {
	return table{
		"node":    table{"id": id.String(), "data_dir": "data", "socket": "socket", "contact_plan": "../plan.jsonl"},
		"log":     table{"level": "debug"},
		"store":   table{"quota": "1GB"},
		"custody": table{"accept": true, "aggregate": "1s", "peer_aggregate": "1s"},
		"tcpcl":   table{"keepalive": "5s"},
	}
}

// groundConfig is the configuration of the ground's daemon.
func (w *world) groundConfig(listen string) table {
	c := common(groundNode)
	s := w.scenario
	c["listen"] = []table{{"address": listen}}
	c["link"] = []table{{"peer": satelliteNode.String(), "mode": "scheduled"}}
	c["ground"] = table{
		"satellites": []string{satelliteNode.String()}, "model": w.model, "labels": w.labels, "label_every": "500ms",
		"trigger": table{"condition": table{"threshold": float64(s.Train.Samples)}},
		"deploy":  table{"condition": table{"metric": "f1_delta", "threshold": s.Train.F1Delta}, "golden": w.golden},
		"train": table{
			"epochs": s.Train.Epochs, "learning_rate": s.Train.LearningRate, "batch": s.Train.Batch, "rank": s.Train.Rank,
			"seed": s.Seed, "threads": 2, "max_samples": max(s.Scenes.Sharp+s.Scenes.Drifted, s.Train.Samples),
		},
		"delta": table{"steps": s.Delta.Steps, "key": w.key},
		"send":  table{"part_bytes": s.Delta.PartBytes, "lifetime": "1h", "receipt_timeout": "1h"},
	}
	return c
}

// satelliteConfig is the configuration of the satellite's daemon.
func (w *world) satelliteConfig(dial string) table {
	c := common(satelliteNode)
	c["link"] = []table{{"peer": groundNode.String(), "address": dial, "mode": "scheduled"}}
	c["satellite"] = table{
		"ground": groundNode.String(), "model": w.model,
		"source":    table{"list": w.list, "interval": w.scenario.Scenes.Interval.String()},
		"mining":    table{"name": "Threshold"},
		"batch":     table{"samples": 16, "max_wait": "5s", "lifetime": "1h"},
		"telemetry": table{"interval": "5s", "lifetime": "5m"},
		"updates":   table{"golden": w.golden, "keys": []string{w.trusted}, "receipt_lifetime": "1h"},
	}
	return c
}

// pass is one contact between the two nodes, in time of the machine.
type pass struct{ start, end time.Time }

// passes lays out the passes, the first one soon after start.
func (s *Scenario) passes(start time.Time) []pass {
	list := make([]pass, s.Passes.Count)
	at := start.Add(s.Passes.First.Std())
	for i := range list {
		list[i] = pass{at, at.Add(s.Passes.Length.Std())}
		at = list[i].end.Add(s.Passes.Gap.Std())
	}
	return list
}

// writePlan writes the contact plan that both daemons follow.
func (s *Scenario) writePlan(path string, passes []pass) error {
	var contacts []contact.Contact
	for _, p := range passes {
		start, end := dtntime.FromTime(p.start), dtntime.FromTime(p.end)
		contacts = append(contacts,
			contact.Contact{From: groundNode, To: satelliteNode, Start: start, End: end, Rate: contact.BitRate(s.Link.Uplink), Confidence: 1},
			contact.Contact{From: satelliteNode, To: groundNode, Start: start, End: end, Rate: contact.BitRate(s.Link.Downlink), Confidence: 1},
		)
	}
	plan, err := contact.New(contacts)
	if err != nil {
		return fmt.Errorf("making the contact plan: %w", err)
	}
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("writing the contact plan: %w", err)
	}
	if _, err := plan.WriteTo(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("writing the contact plan: %w", err)
	}
	return f.Close()
}
