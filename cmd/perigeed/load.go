package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"perigee/agent"
	"perigee/agent/durable"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/ground"
)

// maxConfigBytes is the largest configuration file.
const maxConfigBytes = 4 << 20

// configError is a mistake in the configuration.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// load reads, completes and validates a configuration file.
func load(path string) (*config, error) {
	text, err := readLimited(path, maxConfigBytes)
	if err != nil {
		return nil, &configError{fmt.Errorf("reading configuration: %w; name the file with --config, see perigeed --help", err)}
	}
	c, err := parse(text)
	if err != nil {
		return nil, &configError{at(path, err)}
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, &configError{fmt.Errorf("finding the folder of %s: %w", path, err)}
	}
	c.complete(folder)
	if err := c.validate(); err != nil {
		return nil, &configError{at(path, err)}
	}
	return c, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text, nil
}

// at puts the name of the file before every line of err.
func at(path string, err error) error {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		separator := ": "
		if line != "" && '0' <= line[0] && line[0] <= '9' {
			separator = ":" // a position
		}
		lines = append(lines, path+separator+line)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// parse reads the text of a configuration over the defaults. Its errors begin with
// LINE:COLUMN, one a line.
func parse(text []byte) (*config, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // as some editors begin a file
	c := defaultConfig()
	var present struct {
		Satellite map[string]any `toml:"satellite"`
		Ground    map[string]any `toml:"ground"`
	}
	if err := toml.Unmarshal(text, &present); err != nil {
		return nil, explain(err)
	}
	if present.Satellite != nil {
		defaults := agent.DefaultConfig()
		c.Satellite = &defaults
	}
	if present.Ground != nil {
		defaults := ground.DefaultConfig()
		c.Ground = &defaults
	}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return nil, explain(err)
	}
	return &c, nil
}

// explain says where in the file a mistake is.
func explain(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var unknown []error
		for _, e := range strict.Errors {
			row, column := e.Position()
			unknown = append(unknown, fmt.Errorf("%d:%d: unknown key %q; see docs/configuration.md for those that exist",
				row, column, strings.Join(e.Key(), ".")))
		}
		return errors.Join(unknown...)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, column := decode.Position()
		text := strings.TrimPrefix(decode.Error(), "toml: ")
		// What follows names types of Go, which say nothing to the writer of a file.
		if is, _, wrong := strings.Cut(strings.TrimPrefix(text, "cannot decode TOML "), " into "); wrong && is != text {
			text = "cannot be of type " + is + "; see docs/configuration.md for what to write"
		}
		if key := strings.Join(decode.Key(), "."); key != "" {
			text = key + ": " + text
		}
		return fmt.Errorf("%d:%d: %s", row, column, text)
	}
	return err
}

// readPlan reads the contact plan that the configuration names, nil when none.
func (c *config) readPlan() (*contact.Plan, error) {
	if c.Node.ContactPlan == "" {
		return nil, nil
	}
	f, err := os.Open(c.Node.ContactPlan)
	if err != nil {
		return nil, fmt.Errorf("node.contact_plan: %w", err)
	}
	defer f.Close()
	plan, err := contact.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("node.contact_plan: %s: %w", c.Node.ContactPlan, err)
	}
	return plan, nil
}

// keepPlan writes a contact plan that was set through the socket into the file that the
// configuration names, so that it is read again at the next start.
func (c *config) keepPlan(plan *contact.Plan, log *slog.Logger) error {
	if c.Node.ContactPlan == "" {
		return fmt.Errorf("%w: the configuration names no file for it; add node.contact_plan and start the daemon again", app.ErrRejected)
	}
	var text bytes.Buffer
	if _, err := plan.WriteTo(&text); err != nil {
		return err
	}
	if err := (durable.Disk{}).Write(c.Node.ContactPlan, text.Bytes()); err != nil {
		return fmt.Errorf("node.contact_plan: %w", err)
	}
	log.Info("the contact plan was changed through the socket", "file", c.Node.ContactPlan, "contacts", plan.Len())
	return nil
}
