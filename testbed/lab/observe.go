package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/models"
	"perigee/models/payload"
	"perigee/testbed/daemon"
)

// Files that the applications keep, below the folder of their daemon.
const (
	groundStatus    = "data/ground/status.json"
	groundTelemetry = "data/ground/telemetry/ipn_2.0.jsonl"
	activeModel     = "data/satellite/models"
)

// takenPictures returns the newest telemetry that has reached the ground.
func (f *flight) takenPictures() (*payload.Telemetry, error) {
	file, err := os.Open(filepath.Join(f.dir, "ground", groundTelemetry))
	if err != nil {
		return nil, fmt.Errorf("reading the telemetry: %w", err)
	}
	defer file.Close()
	var newest payload.Telemetry
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var t payload.Telemetry
		if err := json.Unmarshal(lines.Bytes(), &t); err == nil && t.Time >= newest.Time {
			newest = t
		}
	}
	return &newest, lines.Err()
}

// activeFile is the file of the network that the satellite runs.
func (f *flight) activeFile() (string, error) {
	var active struct {
		Active struct {
			Slot string `json:"slot"`
		} `json:"active"`
	}
	dir := filepath.Join(f.dir, "satellite", activeModel)
	if err := readJSON(filepath.Join(dir, "active.json"), &active); err != nil {
		return "", fmt.Errorf("finding the network on board: %w", err)
	}
	return filepath.Join(dir, active.Active.Slot+models.FileExt), nil
}

// deliveries counts how often applications acknowledged each bundle.
type deliveries struct {
	mu    sync.Mutex // guards times
	times map[bundle.ID]int
}

// follow watches a daemon until ctx ends, over its restarts.
func (v *deliveries) follow(ctx context.Context, d *daemon.Daemon) {
	for ctx.Err() == nil {
		client := apphttp.Dial(d.Socket())
		_ = client.Watch(ctx, func(e app.Event) error { // it ends with the daemon and is tried again
			if e.Kind == app.EventDelivered && e.Bundle != nil {
				v.mu.Lock()
				v.times[*e.Bundle]++
				v.mu.Unlock()
			}
			return nil
		})
		_ = client.Close()
		sleepUntil(ctx, time.Now().Add(100*time.Millisecond))
	}
}

// twice is how many bundles were acknowledged more than once.
func (v *deliveries) twice() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, times := range v.times {
		if times > 1 {
			n++
		}
	}
	return n
}
