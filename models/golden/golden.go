// Package golden is the self-test of networks: some labelled pictures that are
// kept where a network flies. A network passes when what it computes for them is
// finite, is what was computed on the ground where that was announced, and finds
// what is in them.
//
// It reads the pictures and runs an engine; what follows from a failure is its
// caller's business.
package golden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"perigee/models"
	"perigee/models/labels"
)

// Limits.
const (
	MaxPictures     = 64      // that are read from a folder, the first in order of their names
	MaxPictureBytes = 2 << 20 // of one picture file
	// ExpectedPictures is for how many pictures Expect says what comes out. Every
	// one exercises every weight, so a few will do.
	ExpectedPictures = 4
	// defaultThreshold is the lowest score that counts when nobody says.
	defaultThreshold = 0.25
)

// Errors that callers branch on.
var (
	// ErrFailed is wrapped by the reasons for which a network fails its self-test.
	ErrFailed = errors.New("self-test failed")
	// ErrPictures is wrapped by errors about the pictures themselves.
	ErrPictures = errors.New("unusable golden pictures")
)

// Criteria are what a network must come up to.
type Criteria struct {
	MinF1     float32           `json:"min_f1"`             // 0 to 1
	Threshold float32           `json:"threshold"`          // lowest score that counts; 0: the usual one
	MatchIoU  float32           `json:"match_iou"`          // overlap that counts as found; 0: models.MatchIoU
	Expected  []models.Expected `json:"expected,omitempty"` // of some of the pictures, all of which must be there
}

// Picture is a labelled picture.
type Picture struct {
	Name string
	ID   models.PictureID
	File []byte // JPEG
	Seen []models.Truth
}

// Read reads the pictures of a folder, each .jpg or .jpeg with its labels beside
// it in YOLO's text format, in order of their names. A folder without any, or
// that is not there, and a picture that cannot be used, are errors that wrap
// ErrPictures.
func Read(dir string) ([]Picture, error) {
	entries, err := os.ReadDir(dir) // in order
	if err != nil {
		return nil, fmt.Errorf("%w: %w: put labelled ones there", ErrPictures, err)
	}
	var all []Picture
	for _, e := range entries {
		if !IsPicture(e.Name()) || len(all) == MaxPictures {
			continue
		}
		p, err := readPicture(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPictures, err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: %s holds no picture: put labelled ones there", ErrPictures, dir)
	}
	return all, nil
}

// IsPicture tells whether a file is a picture by its name.
func IsPicture(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jpg", ".jpeg":
		return name[0] != '.'
	}
	return false
}

func readPicture(path string) (Picture, error) {
	file, err := readBounded(path, MaxPictureBytes)
	if err != nil {
		return Picture{}, err
	}
	text, err := readBounded(strings.TrimSuffix(path, filepath.Ext(path))+".txt", labels.MaxBytes)
	if err != nil {
		return Picture{}, err
	}
	seen, err := labels.Parse(text)
	if err != nil {
		return Picture{}, fmt.Errorf("%s: %w", path, err)
	}
	return Picture{Name: filepath.Base(path), ID: models.PictureIDOf(file), File: file, Seen: seen}, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, nil
}

// run returns the outputs of the engine's network for a picture.
func run(ctx context.Context, e models.Engine, p *Picture) ([]models.Tensor, error) {
	in := e.Network().Input()
	tensor, err := models.FromJPEG(p.File, in.W, in.H)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrPictures, p.Name, err)
	}
	features, err := e.Backbone(ctx, tensor)
	if err != nil {
		return nil, err
	}
	return e.Head(ctx, features)
}

// Expect says what the network of an engine computes for the first few pictures,
// for Criteria of its self-test elsewhere.
func Expect(ctx context.Context, e models.Engine, pictures []Picture) ([]models.Expected, error) {
	var all []models.Expected
	for i := range pictures[:min(len(pictures), ExpectedPictures)] {
		outputs, err := run(ctx, e, &pictures[i])
		if err != nil {
			return nil, fmt.Errorf("run the network on golden picture %s: %w", pictures[i].Name, err)
		}
		all = append(all, models.Expected{Picture: pictures[i].ID, Summary: models.Summarise(outputs)})
	}
	return all, nil
}

// Test runs the network of an engine on the pictures. What it finds is scored; the
// score is returned also with a failure, as far as it was reached. A network that
// must not be used wraps ErrFailed or ErrPictures; other errors are those of ctx
// and of the engine.
func Test(ctx context.Context, e models.Engine, pictures []Picture, want Criteria) (models.Score, error) {
	if want.Threshold == 0 {
		want.Threshold = defaultThreshold
	}
	if want.MatchIoU == 0 {
		want.MatchIoU = models.MatchIoU
	}
	for _, x := range want.Expected {
		if find(pictures, x.Picture) == nil {
			return models.Score{}, fmt.Errorf("%w: golden picture %v, of which the update says what it gives, is not here", ErrFailed, x.Picture)
		}
	}
	var judged []models.Judged
	for i := range pictures {
		j, err := judge(ctx, e, &pictures[i], want)
		if err != nil {
			return models.Score{}, fmt.Errorf("golden picture %s: %w", pictures[i].Name, err)
		}
		judged = append(judged, j)
	}
	score := models.F1At(judged, want.MatchIoU, want.Threshold)
	if score.F1 < want.MinF1 {
		return score, fmt.Errorf("%w: F1 %.3f on %d golden pictures, want at least %.3f", ErrFailed, score.F1, len(judged), want.MinF1)
	}
	return score, nil
}

func find(pictures []Picture, id models.PictureID) *Picture {
	for i := range pictures {
		if pictures[i].ID == id {
			return &pictures[i]
		}
	}
	return nil
}

func judge(ctx context.Context, e models.Engine, p *Picture, want Criteria) (models.Judged, error) {
	outputs, err := run(ctx, e, p)
	if err != nil {
		return models.Judged{}, err
	}
	if err := Finite(outputs); err != nil {
		return models.Judged{}, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	for i := range want.Expected {
		if want.Expected[i].Picture != p.ID {
			continue
		}
		if err := want.Expected[i].Check(outputs); err != nil {
			return models.Judged{}, fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	found, err := e.Network().Decode(outputs, want.Threshold)
	if err != nil {
		return models.Judged{}, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return models.Judged{Truth: p.Seen, Found: models.NMS(found, models.DefaultDetectOptions().NMS)}, nil
}

// Finite returns an error when any value is not a finite number.
func Finite(outputs []models.Tensor) error {
	for i, o := range outputs {
		for _, v := range o.Data {
			if v-v != 0 {
				return fmt.Errorf("output %d has a value that is not finite: %v", i, v)
			}
		}
	}
	return nil
}
