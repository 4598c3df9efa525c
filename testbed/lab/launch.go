package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/train"
	"perigee/testbed/assets"
	"perigee/testbed/scenes"
)

// Seeds of scenes are apart, so that no picture serves two purposes.
const (
	seedClean   = 1_000_000
	seedGolden  = 2_000_000
	seedDrifted = 3_000_000
	seedSharp   = 4_000_000
	seedHeldOut = 1
	seedStep    = 10_000_000 // from one scenario seed to the next
)

// world is what there is before launch: the Earth, the network that will fly, and
// the folders of both daemons.
type world struct {
	scenario *Scenario
	dir      string
	progress Progress

	earth *scenes.Earth
	v1    *models.Network

	pictures, list, labels, golden, model string // paths
	key, trusted                          string // paths of the mission's key and its public part
}

// prepare makes the world: it fetches the assets, trains the network that flies at
// first, and takes the pictures that the satellite will see.
func prepare(ctx context.Context, s *Scenario, dir string, p Progress) (*world, error) {
	w := &world{
		scenario: s, dir: dir, progress: p,
		pictures: filepath.Join(dir, "pictures"), labels: filepath.Join(dir, "labels"),
		golden: filepath.Join(dir, "golden"), model: filepath.Join(dir, "v1.pmodel"),
		key: filepath.Join(dir, "mission.key.pem"), trusted: filepath.Join(dir, "mission.pem"),
	}
	w.list = filepath.Join(w.pictures, "scenes.jsonl")
	p.Stage("fetching the network and the pictures of the Earth", 0)
	files, err := assets.Fetch(ctx, assets.Options{Progress: p.Say})
	if err != nil {
		return nil, err
	}
	if w.earth, err = scenes.Load(files.BlueMarble, files.Water); err != nil {
		return nil, err
	}
	coco, err := darknet.ReadFiles(files.Config, files.Weights, darknet.YOLOv3TinyHead)
	if err != nil {
		return nil, err
	}
	if err := w.makeKey(); err != nil {
		return nil, err
	}
	if err := w.takePictures(ctx); err != nil {
		return nil, err
	}
	if err := w.trainFirst(ctx, coco); err != nil {
		return nil, fmt.Errorf("training the network that flies at first: %w", err)
	}
	return w, models.WriteFile(w.model, w.v1)
}

// makeKey makes the key that signs changes of network. Its public part is all
// that the satellite has of it.
func (w *world) makeKey() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making the mission's key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("making the mission's key: %w", err)
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return fmt.Errorf("making the mission's key: %w", err)
	}
	for path, block := range map[string]*pem.Block{
		w.key: {Type: "PRIVATE KEY", Bytes: secret}, w.trusted: {Type: "PUBLIC KEY", Bytes: open},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("writing the mission's key: %w", err)
		}
	}
	return nil
}

// takePictures writes what the satellite will see, the labels that stand for the
// human on the ground, and the satellite's golden pictures.
func (w *world) takePictures(ctx context.Context) error {
	sc := w.scenario.Scenes
	w.progress.Stage("taking pictures", sc.Sharp+sc.Drifted+sc.Golden)
	for _, dir := range []string{w.pictures, w.labels, w.golden} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the folder of pictures: %w", err)
		}
	}
	var list []scenes.Entry
	for i := range sc.Sharp + sc.Drifted {
		if err := ctx.Err(); err != nil {
			return err
		}
		purpose, drifted := uint64(seedSharp), i >= sc.Sharp
		if drifted {
			purpose = seedDrifted
		}
		scene, err := w.scene(scenes.Train, purpose, i, drifted)
		if err != nil {
			return err
		}
		entry, err := scene.Write(w.pictures)
		if err != nil {
			return err
		}
		// The labels are the ground's: the satellite must not have them.
		if err := os.Rename(filepath.Join(w.pictures, entry.Labels), filepath.Join(w.labels, entry.Labels)); err != nil {
			return fmt.Errorf("moving labels: %w", err)
		}
		list = append(list, entry)
		w.progress.Step(i + 1)
	}
	for i := range sc.Golden {
		scene, err := w.earth.Scene(scenes.Train, w.seed(seedGolden, i))
		if err != nil {
			return err
		}
		if _, err := scene.Write(w.golden); err != nil {
			return err
		}
		w.progress.Step(sc.Sharp + sc.Drifted + i + 1)
	}
	return scenes.WriteList(w.list, list)
}

// seed returns the seed of the i-th scene of a purpose.
func (w *world) seed(purpose uint64, i int) uint64 {
	return w.scenario.Seed*seedStep + purpose + uint64(i)
}

// trainFirst trains the network that flies at first, on clean pictures.
func (w *world) trainFirst(ctx context.Context, coco *models.Network) error {
	samples, err := w.look(ctx, coco, scenes.Train, seedClean, w.scenario.Scenes.Clean, false)
	if err != nil {
		return err
	}
	l := w.scenario.Launch
	w.progress.Stage("training before launch", l.Epochs*((len(samples)+l.Batch-1)/l.Batch))
	w.v1, err = train.Head(ctx, coco, train.Data{Learn: samples}, train.Options{
		Epochs: l.Epochs, Batch: l.Batch, LearningRate: l.LearningRate, Seed: w.scenario.Seed, Now: time.Now,
		Progress: func(p train.Progress) { w.progress.Step(p.Step) },
	})
	return err
}

// look runs the backbone on the photographs of scenes.
func (w *world) look(ctx context.Context, net *models.Network, split scenes.Split, purpose uint64, n int, drifted bool) ([]train.Sample, error) {
	engine, err := models.NewEngine(net, 2)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	kind := "clean"
	if drifted {
		kind = "drifted"
	}
	w.progress.Stage(fmt.Sprintf("looking at %s scenes", kind), n)
	samples := make([]train.Sample, n)
	for i := range samples {
		scene, err := w.scene(split, purpose, i, drifted)
		if err != nil {
			return nil, err
		}
		photograph, err := scene.Photograph()
		if err != nil {
			return nil, err
		}
		features, err := engine.Backbone(ctx, models.FromImage(photograph, scenes.Size, scenes.Size))
		if err != nil {
			return nil, err
		}
		samples[i] = train.Sample{Features: features, Truth: scene.Truth}
		w.progress.Step(i + 1)
	}
	return samples, nil
}

func (w *world) scene(split scenes.Split, purpose uint64, i int, drifted bool) (scenes.Scene, error) {
	scene, err := w.earth.Scene(split, w.seed(purpose, i))
	if err == nil && drifted {
		scene = scene.Through(scenes.DefaultDrift())
	}
	return scene, err
}
