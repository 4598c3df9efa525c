package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"perigee/bundle"
)

// recordView is how an administrative record is shown.
type recordView struct {
	Type     string         `json:"type"`
	Code     uint64         `json:"code"`
	Reason   string         `json:"reason,omitempty"`
	Bundle   *bundle.ID     `json:"bundle,omitempty"`
	Status   []statusView   `json:"status,omitempty"`
	Accepted []sequenceView `json:"accepted,omitempty"`
	Refused  []sequenceView `json:"refused,omitempty"`
	Reported []reportedView `json:"reported,omitempty"`
	Ignored  int            `json:"ignored_entries,omitempty"`
	Content  string         `json:"content,omitempty"` // of unknown types, in hex
}

type statusView struct {
	Status string `json:"status"`
	Time   string `json:"time,omitempty"`
}

// reportedView is one status of a reporting signal.
type reportedView struct {
	Status    string         `json:"status"`
	Sequences []sequenceView `json:"sequences"`
}

type sequenceView struct {
	SeqID       uint64      `json:"seq_id,omitempty"`
	Destination *bundle.EID `json:"destination,omitempty"`
	Source      *bundle.EID `json:"source,omitempty"`
	Ranges      []rangeView `json:"ranges"`
}

type rangeView struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

func viewRecord(rec *bundle.AdminRecord) *recordView {
	switch {
	case rec.Status != nil:
		return viewStatus(rec.Status)
	case rec.CustodySignal != nil:
		s := rec.CustodySignal
		return &recordView{
			Type: "custody-signal", Code: rec.Type,
			Accepted: viewSequences(s.Accepted), Refused: viewSequences(s.Refused), Ignored: s.Ignored,
		}
	case rec.ReportingSignal != nil:
		v := &recordView{Type: "reporting-signal", Code: rec.Type, Ignored: rec.ReportingSignal.Ignored}
		for status, name := range compressedReports() {
			if list := rec.ReportingSignal.Sequences[status]; len(list) > 0 {
				v.Reported = append(v.Reported, reportedView{name, viewSequences(list)})
			}
		}
		return v
	}
	return &recordView{Type: "unknown", Code: rec.Type, Content: hex.EncodeToString(rec.Content)}
}

func viewStatus(s *bundle.StatusReport) *recordView {
	v := &recordView{Type: "status-report", Code: bundle.RecordStatusReport, Reason: s.Reason.String(), Bundle: &s.Bundle}
	for _, item := range []struct {
		name string
		bundle.StatusItem
	}{{"received", s.Received}, {"forwarded", s.Forwarded}, {"delivered", s.Delivered}, {"deleted", s.Deleted}} {
		if !item.Asserted {
			continue
		}
		view := statusView{Status: item.name}
		if item.Time != 0 {
			view.Time = item.Time.String()
		}
		v.Status = append(v.Status, view)
	}
	return v
}

func viewSequences(list []bundle.Sequence) []sequenceView {
	var out []sequenceView
	for i := range list {
		view := sequenceView{SeqID: list[i].SeqID, Source: eidOrNil(list[i].Source)}
		if view.SeqID == 0 {
			view.Destination = &list[i].Destination
		}
		for _, r := range list[i].Ranges {
			view.Ranges = append(view.Ranges, rangeView{r.First, r.Last()})
		}
		out = append(out, view)
	}
	return out
}

// table writes the record for people.
func (v *recordView) table(w io.Writer) {
	row(w, "record", fmt.Sprintf("%s (%d)", v.Type, v.Code))
	if v.Bundle != nil {
		row(w, "subject", v.Bundle)
		row(w, "reason", v.Reason)
	}
	for _, s := range v.Status {
		row(w, s.Status, s.Time)
	}
	for _, s := range v.Accepted {
		row(w, "accepted", s)
	}
	for _, s := range v.Refused {
		row(w, "refused", s)
	}
	for _, r := range v.Reported {
		for _, s := range r.Sequences {
			row(w, r.Status, s)
		}
	}
	if v.Ignored > 0 {
		row(w, "ignored", fmt.Sprintf("%d entries of a reserved kind", v.Ignored))
	}
	if v.Content != "" {
		row(w, "content", v.Content)
	}
}

// String prints the numbers of a sequence: "sequence 3: 5-8, 11-19".
func (s sequenceView) String() string {
	name := fmt.Sprintf("sequence %d", s.SeqID)
	if s.Destination != nil {
		name = "sequence to " + s.Destination.String()
	}
	if s.Source != nil {
		name += " of " + s.Source.String()
	}
	parts := make([]string, len(s.Ranges))
	for i, r := range s.Ranges {
		parts[i] = fmt.Sprint(r.First)
		if r.Last != r.First {
			parts[i] += fmt.Sprintf("-%d", r.Last)
		}
	}
	return name + ": " + strings.Join(parts, ", ")
}
