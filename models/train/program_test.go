package train

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perigee/models"
)

// shell is a program that a shell runs in the job folder.
func shell(t *testing.T, script string) Program {
	t.Helper()
	return Program{Command: []string{"/bin/sh", "-c", script}, Dir: filepath.Join(t.TempDir(), "job")}
}

func TestProgram(t *testing.T) {
	net := smallNetwork(t)
	samples := smallSamples(t, net, 5)
	data := Data{Learn: samples[:3], Check: samples[3:]}
	// It turns the sign of the first parameter and leaves the others alone.
	p := shell(t, `
		echo '{"epoch": 1, "epochs": 2, "step": 1, "steps": 4, "loss": 2.5}'
		echo 'not for us'
		printf '%0100000d\n' 0
		head -c 3 base.f32 >new
		head -c 4 base.f32 | tail -c 1 | tr '\000-\377' '\200-\377\000-\177' >>new
		tail -c +5 base.f32 >>new
		mv new head.f32
		touch mine`)
	var told []Progress
	got, err := p.Head(t.Context(), net, data, Options{Rank: 2, Progress: func(p Progress) { told = append(told, p) }})
	if err != nil {
		t.Fatal(err)
	}
	want := net.HeadParams()
	want[0] = -want[0]
	if next, err := net.WithHead(want); err != nil || got.Hash() != next.Hash() {
		t.Errorf("result %v, %v", got.Hash(), err)
	}
	if len(told) != 1 || told[0] != (Progress{Epoch: 1, Epochs: 2, Step: 1, Steps: 4, Loss: 2.5}) {
		t.Errorf("progress %+v", told)
	}
	checkJob(t, p.Dir, net, data)
	// The same training finds what it left, another one does not.
	if _, err := p.Head(t.Context(), net, data, Options{Rank: 2}); err != nil {
		t.Fatal(err)
	}
	p.Command[2] = "test ! -e mine && cp base.f32 head.f32"
	if _, err := p.Head(t.Context(), net, data, Options{Rank: 2}); !errors.Is(err, ErrProgram) {
		t.Errorf("the program's own file is gone: %v", err)
	}
	if _, err := p.Head(t.Context(), net, data, Options{Rank: 3}); err != nil {
		t.Errorf("the folder of another training is not empty: %v", err)
	}
}

func checkJob(t *testing.T, dir string, net *models.Network, data Data) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "job.json"))
	if err != nil {
		t.Fatal(err)
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	if j.Network != net.Hash() || j.Samples != (jobSamples{3, 0, 2}) || j.Options.Rank != 2 || len(j.Layers) != 10 {
		t.Errorf("job %s", text)
	}
	last := j.Layers[8]
	if last.Layer != 10 || *last.Weights+last.Filters*last.Columns != net.HeadParamCount() || last.Activation != "linear" {
		t.Errorf("last convolution %+v", last)
	}
	for name, size := range map[string]int{
		"learn/00002.f32": 4 * (j.Features[1].Offset + net.Shape(j.Features[1].Layer).Size()),
		"base.f32":        4 * net.HeadParamCount(),
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() != int64(size) {
			t.Errorf("%s: %v, %v, want %d bytes", name, info, err, size)
		}
	}
	labels, err := os.ReadFile(filepath.Join(dir, "check", "00001.txt"))
	if err != nil || strings.Count(string(labels), "\n") != len(data.Check[1].Truth) {
		t.Errorf("labels %q, %v", labels, err)
	}
	if base, err := models.ReadFile(filepath.Join(dir, "base.pmodel")); err != nil || base.Hash() != net.Hash() {
		t.Errorf("base network: %v", err)
	}
}

func TestProgramFails(t *testing.T) {
	net := smallNetwork(t)
	data := Data{Learn: smallSamples(t, net, 1)}
	for script, want := range map[string]string{
		"echo out of memory >&2; exit 3":               "out of memory",
		"true":                                         "without a result",
		"echo abc >head.f32":                           "want",
		"cat base.f32 base.f32 >head.f32":              "want",
		"tr '\\000-\\377' '\\377' <base.f32 >head.f32": "finite",
	} {
		if _, err := shell(t, script).Head(t.Context(), net, data, Options{}); !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one about %q", script, err, want)
		}
	}
	absent := Program{Command: []string{"/no/such/program"}, Dir: t.TempDir()}
	if _, err := absent.Head(t.Context(), net, data, Options{}); !errors.Is(err, ErrProgram) {
		t.Errorf("error %v, want ErrProgram", err)
	}
	if _, err := (Program{Dir: t.TempDir()}).Head(t.Context(), net, data, Options{}); !errors.Is(err, ErrOptions) {
		t.Errorf("error %v, want ErrOptions", err)
	}
}

// TestProgramIsStopped ends the context of a program that says when it is there
// and what it was told.
func TestProgramIsStopped(t *testing.T) {
	net := smallNetwork(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p := shell(t, `trap 'touch told; exit 0' TERM; echo '{"epoch": 1}'; while :; do sleep 0.01; done`)
	_, err := p.Head(ctx, net, Data{Learn: smallSamples(t, net, 1)}, Options{Progress: func(Progress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "told")); err != nil {
		t.Errorf("the program was not asked to end: %v", err)
	}
}
