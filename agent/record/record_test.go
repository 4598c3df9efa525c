package record

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"perigee/agent/agenttest"
	"perigee/agent/durable"
	"perigee/bundle/dtntime"
	"perigee/models"
)

func open(t *testing.T, dir string, most int) *Book {
	t.Helper()
	b, err := Open(dir, durable.Disk{}, most)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func entry(n int) Entry {
	return Entry{
		ID: models.HashBytes(fmt.Append(nil, n)), Name: fmt.Sprintf("scene-%d.jpg", n), Seen: dtntime.Time(1000 + n), Sample: true,
		Found: []models.Detection{{Class: 1, Score: 0.4, Box: models.Box{X: 0.5, Y: 0.5, W: 0.1, H: 0.1}}},
	}
}

func verdict(given dtntime.Time, source string, classes ...int) Verdict {
	v := Verdict{Source: source, Given: given, Objects: []models.Truth{}}
	for _, c := range classes {
		v.Objects = append(v.Objects, models.Truth{Class: c})
	}
	return v
}

func ids(t *testing.T, dir string) []models.Hash {
	t.Helper()
	var all []models.Hash
	if err := Each(dir, func(e Entry) error { all = append(all, e.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCorrection(t *testing.T) {
	dir := agenttest.TempDir(t)
	b := open(t, dir, 10)
	e := entry(1)
	if err := b.Note(e); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir, e.ID); err != nil || len(got.Objects()) != 1 || got.Objects()[0].Class != 1 || got.Verdict != nil {
		t.Errorf("before the verdict %+v, %v", got, err)
	}
	v := verdict(50, "label", 8, 8)
	v.Received = 60
	if done, err := b.Correct(e.ID, v); err != nil || !done {
		t.Fatalf("corrected %v, %v", done, err)
	}
	// It is there after a restart, and after the picture was looked at again.
	b = open(t, dir, 10)
	again := e
	again.Seen, again.Sample, again.Found = 2000, false, nil
	if err := b.Note(again); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir, e.ID)
	if err != nil || !reflect.DeepEqual(*got.Verdict, v) || len(got.Objects()) != 2 || !got.Sample || got.Seen != e.Seen || got.Found != nil {
		t.Errorf("entry %+v, %v", got, err)
	}
	// That nothing is in it is a verdict, too.
	if done, err := b.Correct(e.ID, verdict(51, "label")); err != nil || !done {
		t.Fatalf("corrected %v, %v", done, err)
	}
	if got, err := Read(dir, e.ID); err != nil || len(got.Objects()) != 0 {
		t.Errorf("entry %+v, %v", got, err)
	}
}

// TestVerdictsInAnyOrder gives the same verdicts in every order, each twice.
func TestVerdictsInAnyOrder(t *testing.T) {
	verdicts := []Verdict{
		verdict(10, "model", 1), verdict(20, "label", 2), verdict(20, "model", 3), verdict(20, "model", 4), verdict(15, "label", 5),
	}
	want := verdict(20, "model", 4)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		dir := agenttest.TempDir(t)
		b := open(t, dir, 10)
		e := entry(1)
		if err := b.Note(e); err != nil {
			t.Fatal(err)
		}
		order := append(rng.Perm(len(verdicts)), rng.Perm(len(verdicts))...)
		for _, i := range order {
			if _, err := b.Correct(e.ID, verdicts[i]); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Read(dir, e.ID)
		if err != nil || !reflect.DeepEqual(*got.Verdict, want) {
			t.Fatalf("in order %v: %+v, %v", order, got.Verdict, err)
		}
		if done, err := b.Correct(e.ID, want); done || err != nil {
			t.Fatalf("the same again: %v, %v", done, err)
		}
	}
}

func TestBookIsBounded(t *testing.T) {
	dir := agenttest.TempDir(t)
	b := open(t, dir, 5)
	for n := range 8 {
		if err := b.Note(entry(n)); err != nil {
			t.Fatal(err)
		}
	}
	want := []models.Hash{entry(3).ID, entry(4).ID, entry(5).ID, entry(6).ID, entry(7).ID}
	if got := ids(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("record holds %v", got)
	}
	if _, err := b.Correct(entry(0).ID, verdict(1, "label")); !errors.Is(err, ErrUnknown) {
		t.Errorf("verdict of a picture that is gone: %v", err)
	}
	if _, err := Read(dir, entry(0).ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("a picture that is gone: %v", err)
	}
	// A smaller bound holds from the next start on.
	open(t, dir, 2)
	if got := ids(t, dir); !reflect.DeepEqual(got, want[3:]) {
		t.Errorf("record holds %v", got)
	}
	none := open(t, agenttest.TempDir(t), 0)
	if err := none.Note(entry(1)); err != nil || len(none.order) != 0 {
		t.Errorf("a record of nothing holds %v, %v", none.order, err)
	}
}

func TestDamagedEntry(t *testing.T) {
	dir := agenttest.TempDir(t)
	b := open(t, dir, 5)
	e := entry(1)
	if err := b.Note(e); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName(&e))
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, 5)
	if _, err := b.Correct(e.ID, verdict(1, "label")); !errors.Is(err, ErrUnknown) {
		t.Errorf("correct a damaged entry: %v", err)
	}
	e.Seen = 5000
	if err := b.Note(e); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, dir); len(got) != 1 || len(b.order) != 1 {
		t.Errorf("record holds %v", got)
	}
}

// TestKilledAnywhere stops before every durable step: the entry is as it was or as
// it should be.
func TestKilledAnywhere(t *testing.T) {
	for cut := 0; ; cut++ {
		dir := agenttest.TempDir(t)
		fuse := agenttest.NewFuse(cut)
		write := func(disk durable.Disk) {
			b, err := Open(filepath.Join(dir, "record"), disk, 2)
			for n := range 3 {
				if err == nil {
					err = b.Note(entry(n))
				}
			}
			if err == nil {
				_, err = b.Correct(entry(2).ID, verdict(9, "label", 8))
			}
			if err != nil && !errors.Is(err, agenttest.ErrCut) {
				t.Fatal(err)
			}
		}
		write(durable.Disk{Before: fuse.Step})
		write(durable.Disk{})
		got, err := Read(filepath.Join(dir, "record"), entry(2).ID)
		if err != nil || got.Verdict == nil || got.Verdict.Given != 9 || len(ids(t, filepath.Join(dir, "record"))) != 2 {
			where, _ := fuse.Blown()
			t.Fatalf("cut before %s: %+v, %v", where, got, err)
		}
		if _, blown := fuse.Blown(); !blown {
			return
		}
	}
}
