package ground

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"perigee/agent/durable"
	"perigee/models"
	"perigee/models/labels"
)

// LabelFolder is a Labeller that finds the label file of a sample by the name of
// its picture: NAME.txt for NAME.jpg, in YOLO's text format.
type LabelFolder string

// Label implements Labeller.
func (f LabelFolder) Label(_ context.Context, s Sample) ([]models.Truth, error) {
	name := filepath.Base(s.Name)
	if !filepath.IsLocal(name) || name == "." {
		return nil, fmt.Errorf("%w: its name %.80q is no file name", ErrNoLabel, s.Name)
	}
	path := filepath.Join(string(f), strings.TrimSuffix(name, filepath.Ext(name))+".txt")
	text, err := durable.Read(path, labels.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoLabel
	}
	if err != nil {
		return nil, err
	}
	objects, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return objects, nil
}
