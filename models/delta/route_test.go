package delta

import (
	"slices"
	"testing"

	"perigee/models"
)

func TestRoute(t *testing.T) {
	at := func(name string) models.Hash { return models.HashBytes([]byte(name)) }
	edge := func(from, to string, bytes int64) Edge { return Edge{at(from), at(to), bytes} }
	chain := []Edge{edge("v1", "v2", 10), edge("v2", "v3", 10), edge("v3", "v4", 10)}
	for name, test := range map[string]struct {
		edges    []Edge
		from, to string
		want     []int
		ok       bool
	}{
		"there already":      {chain, "v2", "v2", nil, true},
		"one":                {chain, "v3", "v4", []int{2}, true},
		"all":                {chain, "v1", "v4", []int{0, 1, 2}, true},
		"not back":           {chain, "v4", "v1", nil, false},
		"unknown":            {chain, "other", "v4", nil, false},
		"nothing at hand":    {nil, "v1", "v2", nil, false},
		"direct is smaller":  {append(slices.Clone(chain), edge("v1", "v4", 29)), "v1", "v4", []int{3}, true},
		"direct is larger":   {append(slices.Clone(chain), edge("v1", "v4", 31)), "v1", "v4", []int{0, 1, 2}, true},
		"as large, fewer":    {append(slices.Clone(chain), edge("v1", "v4", 30)), "v1", "v4", []int{3}, true},
		"round and round":    {append(slices.Clone(chain), edge("v2", "v1", 0), edge("v1", "v1", 0)), "v1", "v3", []int{0, 1}, true},
		"in any order":       {[]Edge{chain[2], chain[1], chain[0]}, "v1", "v4", []int{2, 1, 0}, true},
		"a way off, a shift": {append(slices.Clone(chain), edge("side", "v2", 3)), "side", "v4", []int{3, 1, 2}, true},
	} {
		got, ok := Route(test.edges, at(test.from), at(test.to))
		if ok != test.ok || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, ok, test.want, test.ok)
		}
	}
}
