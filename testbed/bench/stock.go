package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// stockClients is how many requests go to a stock daemon at once. More of them make
// it slower.
const stockClients = 16

// stockPoll is the time between two fetches. The daemon loses a bundle that comes
// during a fetch, so there are few.
const stockPoll = 50 * time.Millisecond

// stockPair is two dtn7-go daemons with an MTCP link, driven over their REST agents.
type stockPair struct {
	a, b   *process
	client *http.Client
	send   *stockAgent // of a
	take   *stockAgent // of b
}

// stockAgent is a registration at the REST agent of a stock daemon.
type stockAgent struct {
	client *http.Client
	base   string
	id     string
}

// buildStock builds a stock dtn7-go daemon and returns the program.
func (b *bench) buildStock(ctx context.Context) (string, error) {
	program := filepath.Join(b.dir, "dtnd")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	b.progress.note("building dtn7-go's daemon")
	build := exec.CommandContext(ctx, "go", "build", "-modfile=.ci/tools.mod", "-o", program, "github.com/dtn7/dtn7-go/cmd/dtnd")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building dtn7-go's daemon: %w; run in Perigee's own folder:\n%s", err, out)
	}
	return program, nil
}

// startStock starts two stock daemons as they come, with an MTCP link from a to b.
func (b *bench) startStock(ctx context.Context) (*stockPair, error) {
	program, err := b.buildStock(ctx)
	if err != nil {
		return nil, err
	}
	link, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	s := &stockPair{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: stockClients}}}
	listen := table{"listen": []table{{"protocol": "mtcp", "endpoint": link}}}
	if s.b, s.take, err = b.startStockDaemon(ctx, s.client, program, "b", listen); err != nil {
		return nil, err
	}
	peer := table{"peer": []table{{"node": "dtn://b/", "protocol": "mtcp", "endpoint": link}}}
	if s.a, s.send, err = b.startStockDaemon(ctx, s.client, program, "a", peer); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (b *bench) startStockDaemon(ctx context.Context, client *http.Client, program, name string, config table) (*process, *stockAgent, error) {
	dir, err := b.folder("stock-" + name)
	if err != nil {
		return nil, nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, nil, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "[core]\nstore = %q\nnode-id = \"dtn://%s/\"\n[logging]\nlevel = \"error\"\n", filepath.Join(dir, "store"), name)
	fmt.Fprintf(&text, "[agents.webserver]\naddress = %q\nrest = true\n[routing]\nalgorithm = \"epidemic\"\n", address)
	for kind, entries := range config {
		for _, entry := range entries.([]table) {
			fmt.Fprintf(&text, "[[%s]]\n", kind)
			for key, value := range entry {
				fmt.Fprintf(&text, "%s = %q\n", key, value)
			}
		}
	}
	file := filepath.Join(dir, "dtnd.toml")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		return nil, nil, fmt.Errorf("writing the configuration of dtn7-go's daemon: %w", err)
	}
	agent := &stockAgent{client: client, base: "http://" + address + "/rest/"}
	p, err := launch(ctx, "dtnd-"+name, dir, program, func(ctx context.Context) error {
		return agent.register(ctx, "dtn://"+name+"/app")
	}, file)
	return p, agent, err
}

func (s *stockPair) stop() error {
	s.client.CloseIdleConnections()
	var errs []error
	for _, p := range []*process{s.a, s.b} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

// ask posts a request to the REST agent and reads its answer.
func (a *stockAgent) ask(ctx context.Context, what string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("asking dtn7-go to %s: %w", what, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+what, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking dtn7-go to %s: %w", what, err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking dtn7-go to %s: %w", what, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		return fmt.Errorf("asking dtn7-go to %s: %w", what, err)
	}
	return nil
}

// stockError is the part of every answer that says what went wrong.
type stockError struct {
	Error string `json:"error"`
}

func (e stockError) err(what string) error {
	if e.Error == "" {
		return nil
	}
	return fmt.Errorf("dtn7-go refused to %s: %s", what, e.Error)
}

func (a *stockAgent) register(ctx context.Context, endpoint string) error {
	var answer struct {
		stockError
		UUID string `json:"uuid"`
	}
	if err := a.ask(ctx, "register", table{"endpoint_id": endpoint}, &answer); err != nil {
		return err
	}
	a.id = answer.UUID
	return answer.err("register")
}

// build sends a bundle.
func (a *stockAgent) build(ctx context.Context, payload string) error {
	var answer stockError
	err := a.ask(ctx, "build", table{"uuid": a.id, "arguments": table{
		"source": "dtn://a/app", "destination": "dtn://b/app", "creation_timestamp_now": 1, "lifetime": "24h",
		"payload_block": payload,
	}}, &answer)
	if err != nil {
		return err
	}
	return answer.err("build")
}

// fetch takes what has come and returns how many bundles that were.
func (a *stockAgent) fetch(ctx context.Context) (int, error) {
	var answer struct {
		stockError
		Bundles []json.RawMessage `json:"bundles"`
	}
	if err := a.ask(ctx, "fetch", table{"uuid": a.id}, &answer); err != nil {
		return 0, err
	}
	return len(answer.Bundles), answer.err("fetch")
}

// rate sends bundles for a while, as fast as the daemons go, and returns how many a
// second came through. The clock starts when the first have come.
func (s *stockPair) rate(ctx context.Context, size int, length time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	payload := strings.Repeat("x", size)
	var ended atomic.Bool
	var senders sync.WaitGroup
	for range stockClients {
		senders.Go(func() {
			for !ended.Load() && ctx.Err() == nil {
				if err := s.send.build(ctx, payload); err != nil {
					cancel(err)
				}
			}
		})
	}
	defer senders.Wait()
	defer ended.Store(true)
	count, begin := 0, time.Time{}
	for begin.IsZero() || time.Since(begin) < length {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(stockPoll):
		}
		n, err := s.take.fetch(ctx)
		if err != nil {
			return 0, err
		}
		if begin.IsZero() {
			if n > 0 {
				begin = time.Now()
			}
			continue
		}
		count += n
	}
	return float64(count) / time.Since(begin).Seconds(), nil
}
