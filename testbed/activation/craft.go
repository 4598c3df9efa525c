// Package activation runs satellite applications as processes of their own, beside
// a node that outlives them, kills them over changes of network, and looks at what
// is left: whatever happens, a valid network must be active, and every change
// must end.
//
// It refuses to know how a program starts itself again; its callers say that.
package activation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"perigee/agent"
	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/mining"
)

// The node of both applications: the satellite's, with the ground at the same one.
func nodeID() bundle.EID { return bundle.IPN(2, 0) }

// Files of a craft's folder.
const (
	craftName   = "craft.json"
	socketName  = "node.sock"
	modelName   = "launch" + models.FileExt
	keyName     = "mission.pem"
	goldenName  = "golden"
	pictureName = "pictures"
	listName    = "list.jsonl"
	dataName    = "satellite"
)

// Craft says how a satellite application is to run. The rest is in its folder.
type Craft struct {
	Interval  dtntime.Duration `json:"interval"`  // between pictures
	Probation int              `json:"probation"` // pictures
	Canary    int              `json:"canary"`    // recent pictures
}

func (c *Craft) config(dir string) agent.Config {
	a := agent.DefaultConfig()
	a.DataDir, a.Ground = filepath.Join(dir, dataName), nodeID()
	a.Model = filepath.Join(dir, modelName)
	a.Source.List, a.Source.Interval = filepath.Join(dir, pictureName, listName), c.Interval
	a.Mining = mining.Config{Name: mining.Random, Params: map[string]float64{"random_ratio": 0}}
	a.Updates.Golden, a.Updates.MinF1 = filepath.Join(dir, goldenName), 0
	a.Updates.Keys = []string{filepath.Join(dir, keyName)}
	a.Updates.Canary.Pictures = c.Canary
	a.Updates.Watchdog.Pictures = c.Probation
	a.Retry.First, a.Retry.Most = 2*dtntime.Millisecond, 20*dtntime.Millisecond
	return a
}

type clock struct{}

func (clock) Now() dtntime.Time { return dtntime.FromTime(time.Now()) }

// A mark is a line that a craft writes about what it is going to do next.
const (
	markReady = "ready"
	markTrial = "trial"
)

// Fly runs the satellite application of a folder until ctx ends. It is what the
// process does that is killed. Before every durable step, and before the trial of a
// network, it writes a line to marks.
func Fly(ctx context.Context, dir string, marks io.Writer, log *slog.Logger) error {
	var c Craft
	if found, err := durable.ReadJSON(filepath.Join(dir, craftName), 1<<16, &c); err != nil || !found {
		return fmt.Errorf("read %s: %w", craftName, errors.Join(err, os.ErrNotExist))
	}
	client := apphttp.Dial(filepath.Join(dir, socketName))
	defer client.Close()
	running := false
	a, err := agent.New(c.config(dir), agent.Parts{
		Client: client, Clock: clock{}, Log: log,
		Disk: durable.Disk{Before: func(op, path string) error {
			_, err := fmt.Fprintf(marks, "%s %s\n", op, strings.TrimPrefix(path, dir))
			return err
		}},
		Engine: func(n *models.Network, threads int) (models.Engine, error) {
			// The first engine is the one in service.
			mark := markReady
			if running {
				mark = markTrial
			}
			running = true
			if _, err := fmt.Fprintln(marks, mark); err != nil {
				return nil, err
			}
			return models.NewEngine(n, threads)
		},
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// write makes the file of a craft.
func (c *Craft) write(dir string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, craftName), text, 0o644)
}
