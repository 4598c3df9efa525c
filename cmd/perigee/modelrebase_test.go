package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"perigee/agent/agenttest"
	"perigee/models"
	"perigee/models/delta"
)

// TestRebase leads from the first of three networks to the third.
func TestRebase(t *testing.T) {
	dir := t.TempDir()
	first := agenttest.Network(t, 7)
	nets, files := []*models.Network{first}, []string(nil)
	for i := range 2 {
		base := nets[i]
		d, next, err := delta.Build(base, agenttest.Nudged(t, base, 0.01), delta.Encoding{Bits: 4, Rank: 1})
		if err != nil {
			t.Fatal(err)
		}
		file, err := d.Encode(nil)
		path := filepath.Join(dir, fmt.Sprintf("change-%d.pdelta", i))
		if err == nil {
			err = os.WriteFile(path, file, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		nets, files = append(nets, next), append(files, path)
	}
	for name, test := range map[string]struct {
		over []string
		want []string
	}{
		"over both":     {[]string{files[1], files[0]}, []string{"int4-rank1", "int4-rank1"}},
		"one is no way": {files[1:], []string{"lossless"}},
	} {
		o := deltaOptions{over: test.over}
		chain, err := o.rebase(first, nets[2])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range chain {
			got = append(got, s.Encoding.String())
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) || chain[len(chain)-1].Network.Hash() != nets[2].Hash() {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
