// Package labels reads and writes what is in a picture in YOLO's text format: one
// object a line, "class x y width height", the box by its centre and relative to
// the picture. It knows no files and no pictures.
package labels

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"perigee/models"
)

// Limits on a label file.
const (
	MaxObjects = 1000      // objects in it
	MaxBytes   = 128 << 10 // bytes of it
	MinSide    = 0.001     // of a box
)

// ErrMalformed is wrapped by errors about text that is no label file.
var ErrMalformed = errors.New("malformed label file")

// Append appends a line for each of the objects. Parse reads them back when the
// boxes have their centre within the picture and sides from MinSide to 1.
func Append(to []byte, objects []models.Truth) []byte {
	for _, o := range objects {
		to = fmt.Appendf(to, "%d %.6f %.6f %.6f %.6f\n", o.Class, o.Box.X, o.Box.Y, o.Box.W, o.Box.H)
	}
	return to
}

// Parse reads a label file. Blank lines are skipped; an empty file says that
// nothing is in the picture. Errors wrap ErrMalformed and name the line.
func Parse(text []byte) ([]models.Truth, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(text), MaxBytes)
	}
	objects := []models.Truth{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, MaxBytes+1)
	for number := 1; lines.Scan(); number++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		object, err := parseObject(fields)
		if err == nil && len(objects) == MaxObjects {
			err = fmt.Errorf("more than %d objects", MaxObjects)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrMalformed, number, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func parseObject(fields []string) (models.Truth, error) {
	if len(fields) != 5 {
		return models.Truth{}, fmt.Errorf("%d fields, want class, x, y, width and height", len(fields))
	}
	class, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil || class >= models.MaxClasses {
		return models.Truth{}, fmt.Errorf("class %.20q, want 0 to %d", fields[0], models.MaxClasses-1)
	}
	var values [4]float32
	for i, field := range fields[1:] {
		v, err := strconv.ParseFloat(field, 32)
		if err != nil || !(v >= 0 && v <= 1) {
			return models.Truth{}, fmt.Errorf("%.20q, want a number from 0 to 1", field)
		}
		values[i] = float32(v)
	}
	if values[2] < MinSide || values[3] < MinSide {
		return models.Truth{}, fmt.Errorf("box of %v by %v, want sides of at least %v", values[2], values[3], MinSide)
	}
	return models.Truth{Class: int(class), Box: models.Box{X: values[0], Y: values[1], W: values[2], H: values[3]}}, nil
}
