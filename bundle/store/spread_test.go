package store_test

import (
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store"
)

func TestSpread(t *testing.T) {
	for name, tt := range map[string]struct {
		registrations []uint64
		neighbours    []bundle.EID
		want          store.Spread
	}{
		"nothing":       {nil, nil, ""},
		"registrations": {[]uint64{7, 9}, nil, "7 9"},
		"neighbours":    {nil, []bundle.EID{bundle.IPN(2, 0), bundle.DTN("sat", "")}, "ipn:2.0 dtn://sat/"},
		"both":          {[]uint64{1 << 63}, []bundle.EID{bundle.IPN(977000<<32|3, 0)}, "9223372036854775808 ipn:977000.3.0"},
	} {
		s := store.MakeSpread(tt.registrations, tt.neighbours)
		r, n, err := s.Parse()
		if s != tt.want || err != nil || !slices.Equal(r, tt.registrations) || !slices.Equal(n, tt.neighbours) {
			t.Errorf("%s: made %q, parsed %v %v, %v", name, s, r, n, err)
		}
	}
	for _, bad := range []store.Spread{"x", "1 x", "-1", "99999999999999999999", "ipn:2.0 7", "1 http://x/"} {
		if _, _, err := bad.Parse(); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}
