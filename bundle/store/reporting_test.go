package store_test

import (
	"math"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

func TestReporting(t *testing.T) {
	long := bundle.DTN("n", strings.Repeat("x", bundle.MaxEIDText-4))
	for name, tt := range map[string]struct {
		r    bundle.Reporting
		want store.Reporting
	}{
		"numbers":   {bundle.Reporting{SeqNum: 5, SeqID: 7, Requests: 63}, "5 7 63"},
		"source":    {bundle.Reporting{SeqNum: 5, Requests: 1, Source: bundle.IPN(9, 2)}, "5 0 1 ipn:9.2"},
		"report-to": {bundle.Reporting{SeqNum: 5, Requests: 1, ReportTo: bundle.DTN("g", "r")}, "5 0 1 dtn:none dtn://g/r"},
		"all of it": {
			bundle.Reporting{SeqNum: math.MaxUint64, SeqID: math.MaxUint64, Requests: math.MaxUint64, Source: long, ReportTo: long},
			store.Reporting("18446744073709551615 18446744073709551615 18446744073709551615 " + long.String() + " " + long.String()),
		},
	} {
		s := store.MakeReporting(tt.r)
		back, err := s.Parse()
		if s != tt.want || err != nil || back != tt.r || len(s) > store.MaxReporting {
			t.Errorf("%s: made %q, parsed %+v, %v", name, s, back, err)
		}
	}
	if s := store.MakeReporting(bundle.Reporting{SeqNum: 5, SeqID: 7}); s != "" {
		t.Errorf("of a block that asks for nothing: %q", s)
	}
	for _, bad := range []store.Reporting{"", "5 7", "x 7 1", "5 7 -1", "5 7 1 ipn", "5 7 1 ipn:1.0 ipn:2.0 ipn:3.0"} {
		if _, err := bad.Parse(); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}
