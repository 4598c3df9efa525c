package bundle

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func fragmentID(offset, length uint64) ID {
	return ID{Source: IPN(1, 7), Created: Timestamp{Time: 5, Sequence: 6}, Fragment: true, Offset: offset, Length: length}
}

func TestReassemblyExtents(t *testing.T) {
	type frag struct {
		offset, length uint64
		material       bool
	}
	tests := []struct {
		name  string
		frags []frag
		total uint64
		plan  [][4]uint64 // offset and length of the fragment, from, length
	}{
		{"one", []frag{{0, 100, true}}, 100, [][4]uint64{{0, 100, 0, 100}}},
		{"in order", []frag{{0, 60, true}, {60, 40, true}}, 100, [][4]uint64{{0, 60, 0, 60}, {60, 40, 0, 40}}},
		{"backwards", []frag{{60, 40, true}, {0, 60, true}}, 100, [][4]uint64{{0, 60, 0, 60}, {60, 40, 0, 40}}},
		{"contained, then overlap", []frag{{0, 60, true}, {10, 10, false}, {15, 85, true}}, 100, [][4]uint64{{0, 60, 0, 60}, {15, 85, 45, 40}}},
		{"contained, then touch", []frag{{0, 60, true}, {10, 10, false}, {60, 40, true}}, 100, [][4]uint64{{0, 60, 0, 60}, {60, 40, 0, 40}}},
		{"twice", []frag{{0, 60, true}, {0, 60, false}, {40, 60, true}, {40, 60, false}}, 100, [][4]uint64{{0, 60, 0, 60}, {40, 60, 20, 40}}},
		{"one around all", []frag{{20, 10, true}, {50, 10, true}, {0, 100, true}}, 100, [][4]uint64{
			{0, 100, 0, 20}, {20, 10, 0, 10}, {0, 100, 30, 20}, {50, 10, 0, 10}, {0, 100, 60, 40},
		}},
		{"gap", []frag{{0, 10, true}, {90, 10, true}, {5, 80, true}}, 100, nil},
		{"empty fragments", []frag{{0, 0, false}, {50, 0, false}, {100, 0, false}}, 100, nil},
		{"empty unit", []frag{{0, 0, true}, {0, 0, false}}, 0, [][4]uint64{{0, 0, 0, 0}}},
		{"to the end of numbers", []frag{{math.MaxUint64 - 1, 1, true}, {0, math.MaxUint64, true}}, math.MaxUint64, [][4]uint64{
			{0, math.MaxUint64, 0, math.MaxUint64 - 1}, {math.MaxUint64 - 1, 1, 0, 1},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r Reassembly
			if r.Complete() || len(r.Plan()) != 0 || r.Missing() != math.MaxUint64 {
				t.Fatal("complete before the first fragment")
			}
			for i, f := range test.frags {
				material, err := r.Add(fragmentID(f.offset, f.length), test.total)
				if err != nil || material != f.material {
					t.Fatalf("fragment %d: material %v, %v", i, material, err)
				}
			}
			if r.Complete() != (test.plan != nil) {
				t.Fatalf("complete is %v, %d bytes are missing", r.Complete(), r.Missing())
			}
			if test.plan == nil {
				return
			}
			var want []Piece
			for _, p := range test.plan {
				want = append(want, Piece{fragmentID(p[0], p[1]), p[2], p[3]})
			}
			if got := r.Plan(); !slices.Equal(got, want) {
				t.Errorf("plan is %v, want %v", got, want)
			}
		})
	}
}

func TestReassemblyRefuses(t *testing.T) {
	var r Reassembly
	var rule *RuleError
	if _, err := r.Add(fragmentID(90, 11), 100); !errors.As(err, &rule) {
		t.Errorf("fragment beyond the end: %v", err)
	}
	if r.Missing() != math.MaxUint64 {
		t.Error("a refused fragment was counted")
	}
	if _, err := r.Add(fragmentID(0, 50), 100); err != nil {
		t.Fatal(err)
	}
	other := fragmentID(50, 50)
	other.Created.Sequence++
	whole := fragmentID(50, 50)
	whole.Fragment = false
	for name, test := range map[string]struct {
		id    ID
		total uint64
	}{
		"other total":      {fragmentID(50, 50), 101},
		"other bundle":     {other, 100},
		"no fragment":      {whole, 100},
		"beyond the end":   {fragmentID(50, 51), 100},
		"behind the end":   {fragmentID(101, 0), 100},
		"sum wraps around": {fragmentID(2, math.MaxUint64), 100},
	} {
		if _, err := r.Add(test.id, test.total); !errors.As(err, &rule) {
			t.Errorf("%s: %v, want a *RuleError", name, err)
		}
	}
	if r.Missing() != 50 || len(r.Plan()) != 1 {
		t.Errorf("refused fragments were gathered: %v", r.Plan())
	}
}

func TestReassemblyIsBounded(t *testing.T) {
	var r Reassembly
	const total = 4 * MaxPieces
	for i := range uint64(MaxPieces) {
		if _, err := r.Add(fragmentID(2*i, 1), total); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Add(fragmentID(2*MaxPieces, 1), total); !errors.Is(err, ErrLimit) {
		t.Errorf("one piece too many: %v, want ErrLimit", err)
	}
	if _, err := r.Add(fragmentID(0, total), total); !errors.Is(err, ErrLimit) {
		t.Errorf("too many gaps at once: %v, want ErrLimit", err)
	}
	if material, err := r.Add(fragmentID(0, 1), total); material || err != nil || r.Missing() != total-MaxPieces {
		t.Errorf("a duplicate at the limit: %v, %v; %d bytes are missing", material, err, r.Missing())
	}
}

// FuzzReassembly compares a Reassembly with a model that knows of each byte which
// fragment it comes from. Each two bytes of input are a fragment.
func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 60, 10, 10, 15, 85}, byte(100))
	f.Add([]byte{60, 40, 0, 60, 0, 60}, byte(100))
	f.Add([]byte{0, 0}, byte(0))
	f.Fuzz(func(t *testing.T, frags []byte, total byte) {
		var r Reassembly
		model := make([]*ID, total)
		left, started := int(total), false
		for ; len(frags) >= 2; frags = frags[2:] {
			id := fragmentID(uint64(frags[0]), uint64(frags[1]))
			material, err := r.Add(id, uint64(total))
			if fits := int(frags[0])+int(frags[1]) <= int(total); fits != (err == nil) {
				t.Fatalf("%s of %d: %v", id, total, err)
			} else if !fits {
				continue
			}
			gained := total == 0 && !started
			started = true
			for i := id.Offset; i < id.Offset+id.Length; i++ {
				if model[i] == nil {
					model[i], gained = &id, true
					left--
				}
			}
			if material != gained {
				t.Fatalf("%s: material %v, want %v", id, material, gained)
			}
		}
		if r.Complete() != (started && left == 0) || started && r.Missing() != uint64(left) {
			t.Fatalf("complete %v, missing %d, want %d missing", r.Complete(), r.Missing(), left)
		}
		at, seen := uint64(0), 0
		for _, p := range r.Plan() {
			for ; at < uint64(total) && model[at] == nil; at++ {
			}
			if p.Length == 0 && total > 0 || p.Fragment.Offset+p.From != at {
				t.Fatalf("piece %+v at %d", p, at)
			}
			for range p.Length {
				if *model[at] != p.Fragment {
					t.Fatalf("byte %d is of %s, want %s", at, p.Fragment, *model[at])
				}
				at++
				seen++
			}
		}
		if seen != int(total)-left {
			t.Fatalf("plan holds %d bytes, want %d", seen, int(total)-left)
		}
	})
}
