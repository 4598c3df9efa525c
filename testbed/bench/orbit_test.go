package main

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// needVectors skips the test where Debian's python3-sgp4 is not.
func needVectors(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(sgp4Folder); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("there is nothing to compare with: %v; install Debian's python3-sgp4", err)
	}
}

// TestPassesOfReference holds some of the passes of the measure against python3-sgp4.
func TestPassesOfReference(t *testing.T) {
	needVectors(t)
	t.Parallel()
	task := newPassTask()
	task.Satellites, task.Step = [][2]string{task.Satellites[0], task.Satellites[3]}, 30
	reference, err := task.reference(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := task.passes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range reference {
		for j := range reference[i] {
			missed, worst := comparePasses(ours[i][j], reference[i][j])
			if missed > 0 || worst > passBar || len(reference[i][j]) < 20 {
				t.Errorf("satellite %d, site %d: %d of %d passes missed or made up, worst rise or set off by %v s",
					i, j, missed, len(reference[i][j]), worst)
			}
		}
	}
}

func TestComparePasses(t *testing.T) {
	for _, c := range []struct {
		name            string
		ours, reference []span
		missed          int
		worst           float64
	}{
		{"nothing", nil, nil, 0, 0},
		{"one late", []span{{0, 10}, {20.5, 30}}, []span{{0, 10}, {20, 30}}, 0, 0.5},
		{"ours alone", []span{{0, 10}, {12, 14}, {20, 30}}, []span{{0, 10}, {20, 30}}, 1, 0},
		{"missed first and last", []span{{20, 30}}, []span{{0, 10}, {20, 30}, {40, 50}}, 2, 0},
		{"other ones", []span{{0, 10}}, []span{{11, 20}}, 2, 0},
	} {
		missed, worst := comparePasses(c.ours, c.reference)
		if missed != c.missed || worst != c.worst {
			t.Errorf("%s: %d missed, worst %v; want %d, %v", c.name, missed, worst, c.missed, c.worst)
		}
	}
}

func TestSGP4Measure(t *testing.T) {
	needVectors(t)
	figures, err := sgp4Error(t.Context(), nil)
	if err != nil || len(figures) != 1 || figures[0].value > sgp4Bar || figures[0].value == 0 {
		t.Errorf("got %v, %v; want one figure above 0 and at most %v", figures, err, sgp4Bar)
	}
}
