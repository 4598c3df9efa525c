package lab

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/testbed/sim"
)

// Utilisation sums up how the passes in one direction were used: what they carried as a
// part of what they could.
type Utilisation struct {
	Direction string  `json:"direction"` // "down", "up" or "cross"
	Passes    int     `json:"passes"`
	Median    float64 `json:"median"`
	Least     float64 `json:"least"`
	Most      float64 `json:"most"`
}

// Directions of passes: from satellites, to them, and between two of them.
var directions = []string{"down", "up", "cross"}

// names are the names of nodes.
func (r *NetworkReport) names() map[bundle.EID]string {
	names := make(map[bundle.EID]string)
	for _, m := range r.Members {
		names[m.ID] = m.Name
	}
	return names
}

// shown are the passes that begin while applications send, without links that are there
// at all times.
func (r *NetworkReport) shown() []sim.PassResult {
	var list []sim.PassResult
	for _, p := range r.Passes {
		if p.Start < r.Start.Add(r.Length) && p.End.Sub(p.Start) < r.Length {
			list = append(list, p)
		}
	}
	return list
}

// direction is which way a pass leads, empty between two nodes on the ground.
func (r *NetworkReport) direction(p sim.PassResult) string {
	flies := func(id bundle.EID) bool {
		return slices.ContainsFunc(r.Members, func(m Member) bool { return m.ID == id && m.Satellite })
	}
	switch from, to := flies(p.From), flies(p.To); {
	case from && to:
		return "cross"
	case from:
		return "down"
	case to:
		return "up"
	}
	return ""
}

// utilisation sums up the passes.
func (r *NetworkReport) utilisation() []Utilisation {
	parts := make(map[string][]float64)
	for _, p := range r.shown() {
		d := r.direction(p)
		parts[d] = append(parts[d], p.Utilisation)
	}
	list := []Utilisation{}
	for _, d := range directions {
		if all := parts[d]; len(all) > 0 {
			slices.Sort(all)
			list = append(list, Utilisation{Direction: d, Passes: len(all), Median: all[len(all)/2], Least: all[0], Most: all[len(all)-1]})
		}
	}
	return list
}

// maxPassLines is how many passes a table lists at most, both directions in one line.
const maxPassLines = 60

// passTable lists the passes of a run that has few, by start.
func (r *NetworkReport) passTable(w io.Writer) {
	type both struct{ there, back *sim.PassResult }
	type at struct {
		a, b  bundle.EID
		start dtntime.Time
	}
	var lines []*both
	byPass := make(map[at]*both)
	passes := r.shown()
	for i := range passes {
		p := &passes[i]
		if r.direction(*p) == "up" {
			continue
		}
		line := &both{there: p}
		lines = append(lines, line)
		byPass[at{p.From, p.To, p.Start}] = line
	}
	for i := range passes {
		p := &passes[i]
		if line := byPass[at{p.To, p.From, p.Start}]; line != nil {
			line.back = p
		}
	}
	if len(lines) == 0 || len(lines) > maxPassLines {
		return
	}
	names := r.names()
	size := func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
	used := func(p *sim.PassResult) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprintf("%s of %s, %.0f %%", size(p.Bytes), size(p.Capacity), 100*p.Utilisation)
	}
	fmt.Fprintf(w, "\nPASS\tBETWEEN\tLENGTH\tOUT\tBACK\n")
	for _, l := range lines {
		p := l.there
		fmt.Fprintf(w, "%s\t%s, %s\t%s\t%s\t%s\n", p.Start.Time().Format("2006-01-02 15:04:05"), names[p.From], names[p.To],
			p.End.Sub(p.Start).Std().Round(time.Second), used(p), used(l.back))
	}
}
