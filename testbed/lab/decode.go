package lab

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/pelletier/go-toml/v2"

	"perigee/bundle/contact"
)

// The kinds of scenarios.
const (
	KindLearning = "learning" // one turn of incremental learning; a file that names no kind
	KindNetwork  = "network"
)

// KindOf tells of which kind a scenario file is, without checking more of it.
func KindOf(file string) (string, error) {
	text, err := readText(file)
	if err != nil {
		return "", err
	}
	var s struct {
		Kind string `toml:"kind"`
	}
	if err := toml.Unmarshal(text, &s); err != nil {
		return "", misread(file, err)
	}
	switch s.Kind {
	case "", KindLearning:
		return KindLearning, nil
	case KindNetwork:
		return KindNetwork, nil
	}
	return "", fmt.Errorf("%w %s: kind is %q, want %s or %s", ErrScenario, file, s.Kind, KindLearning, KindNetwork)
}

// readText reads a file of TOML.
func readText(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the scenario: %w", err)
	}
	return bytes.TrimPrefix(text, []byte("\ufeff")), nil // as some editors begin a file
}

// decode reads a scenario file into v, and refuses keys that v does not have.
func decode(file string, v any) error {
	text, err := readText(file)
	if err != nil {
		return err
	}
	err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v)
	var strict *toml.StrictMissingError
	switch {
	case errors.As(err, &strict):
		return fmt.Errorf("%w %s: unknown keys:\n%s", ErrScenario, file, strict.String())
	case err != nil:
		return misread(file, err)
	}
	return nil
}

// misread says where in a file something cannot be read.
func misread(file string, err error) error {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return fmt.Errorf("%w %s: %w", ErrScenario, file, err)
	}
	row, column := at.Position()
	return fmt.Errorf("%w %s:%d:%d: %s", ErrScenario, file, row, column, strings.TrimPrefix(at.Error(), "toml: "))
}

// Rate is a bit rate written as "100 kbit/s".
type Rate contact.BitRate

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	value, unit, err := humanize.ParseSI(string(text))
	if err != nil || unit != "bit/s" || value < 1 {
		return fmt.Errorf("%q is not a rate; write it like \"100 kbit/s\" or \"100 Mbit/s\"", text)
	}
	*r = Rate(value)
	return nil
}

// Bytes is a number of bytes written as "64 kB".
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size; write it like \"64 kB\" or \"2 GB\"", text)
	}
	*b = Bytes(n)
	return nil
}
