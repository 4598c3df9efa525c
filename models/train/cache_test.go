package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"perigee/models"
)

func TestFeatureCache(t *testing.T) {
	net := smallNetwork(t)
	engine, err := models.NewEngine(net, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	made := 0
	picture := func() (models.Tensor, error) {
		made++
		p := models.NewTensor(net.Input())
		for i := range p.Data {
			p.Data[i] = float32(i%7) / 7
		}
		return p, nil
	}
	cache := FeatureCache{Dir: t.TempDir()}
	get := func(id string) models.Features {
		t.Helper()
		f, err := cache.Features(context.Background(), engine, id, picture)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := get("../a")
	if again := get("../a"); made != 1 || !reflect.DeepEqual(first, again) {
		t.Errorf("the picture was made %d times, want once, with equal features", made)
	}
	if get("b"); made != 2 {
		t.Error("another picture got the features of the first")
	}
	files, err := filepath.Glob(filepath.Join(cache.Dir, "*", "*.features"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the folder holds %v, want two files", files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, whole...)
	flipped[100] ^= 1
	for name, data := range map[string][]byte{"flipped": flipped, "cut": whole[:len(whole)-1], "empty": {}, "long": append(whole, 0)} {
		for _, file := range files {
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		made = 0
		if got := get("../a"); made != 1 || !reflect.DeepEqual(first, got) {
			t.Errorf("%s file: made %d times, want once, with equal features", name, made)
		}
		if get("../a"); made != 1 {
			t.Errorf("%s file was not replaced", name)
		}
	}
	failed := errors.New("no picture")
	if _, err := cache.Features(context.Background(), engine, "c", func() (models.Tensor, error) { return models.Tensor{}, failed }); !errors.Is(err, failed) {
		t.Errorf("failing picture: %v, want its error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := cache.Features(ctx, engine, "d", picture); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
}
