package train

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"perigee/models"
)

// ErrProgram is wrapped by errors about a program that does not train as it
// should.
var ErrProgram = errors.New("training program failed")

// Limits on what a program says.
const (
	maxLine     = 64 << 10 // bytes of a line of its standard output
	maxTail     = 4 << 10  // bytes of its standard error that an error quotes
	programStop = 10 * time.Second
)

// Program trains with a program of another kind, which reads a job folder and
// writes the parameters of the new head into it. docs/training.md describes both.
type Program struct {
	// Command is the program and its arguments. It runs in the job folder, with
	// the environment of the caller.
	Command []string
	// Dir is the job folder, which is made. A training that is taken up again
	// finds whatever the program left there.
	Dir string
}

// programProgress is a line of the standard output that tells how far it is.
type programProgress struct {
	Epoch, Epochs int
	Step, Steps   int
	Loss          float64
	CheckLoss     float64 `json:"check_loss"`
}

// Head is Head by way of the program, which decides what the options mean; Layers,
// Threads and Checkpoint have no meaning. When ctx ends, the program is sent
// SIGTERM and some seconds later SIGKILL. Errors wrap ErrOptions, ErrSample,
// ErrProgram or the context's error.
func (p Program) Head(ctx context.Context, net *models.Network, data Data, opts Options) (*models.Network, error) {
	n, err := p.head(ctx, net, data, opts)
	if err != nil {
		return nil, fmt.Errorf("train head with %.200q: %w", p.Command, err)
	}
	return n, nil
}

func (p Program) head(ctx context.Context, net *models.Network, data Data, opts Options) (*models.Network, error) {
	if len(p.Command) == 0 {
		return nil, fmt.Errorf("%w: no program is named", ErrOptions)
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := data.check(net); err != nil {
		return nil, err
	}
	if err := newJob(net, data, opts).write(p.Dir, net, data); err != nil {
		return nil, fmt.Errorf("lay out the job folder: %w", err)
	}
	// A result of an earlier run may be half written.
	result := filepath.Join(p.Dir, resultFile)
	if err := os.RemoveAll(result); err != nil {
		return nil, err
	}
	if err := p.run(ctx, opts); err != nil {
		return nil, err
	}
	head, err := readHead(result, net.HeadParamCount())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProgram, err)
	}
	next, err := net.WithHead(head)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProgram, result, err)
	}
	return next, nil
}

// run runs the program to its end.
func (p Program) run(ctx context.Context, opts Options) error {
	cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
	cmd.Dir = p.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = programStop
	var said tail
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProgram, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrProgram, err)
	}
	follow(out, opts)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %w; it said last: %s", ErrProgram, err, said.text())
	}
	return nil
}

// follow reads the program's output to its end and tells of its progress. Lines
// that tell of none are left out.
func follow(out io.Reader, opts Options) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxLine)
	var start time.Time
	if opts.Now != nil {
		start = opts.Now()
	}
	for lines.Scan() {
		var p programProgress
		if json.Unmarshal(lines.Bytes(), &p) != nil || p.Epoch < 1 || opts.Progress == nil {
			continue
		}
		told := Progress{Epoch: p.Epoch, Epochs: p.Epochs, Step: p.Step, Steps: p.Steps, Loss: p.Loss, CheckLoss: p.CheckLoss}
		if opts.Now != nil && p.Step > 0 && p.Steps >= p.Step {
			told.Left = opts.Now().Sub(start) * time.Duration(p.Steps-p.Step) / time.Duration(p.Step)
		}
		opts.Progress(told)
	}
	_, _ = io.Copy(io.Discard, out) // what is beyond a line too long; Wait reports a broken pipe
}

// readHead reads the parameters of a head.
func readHead(path string, count int) ([]float32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("it has ended without a result: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(4*count)+1))
	if err != nil {
		return nil, err
	}
	if len(data) != 4*count {
		return nil, fmt.Errorf("%s has %d bytes or more, want %d parameters of 4 bytes", path, len(data), count)
	}
	head := make([]float32, count)
	for i := range head {
		head[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return head, nil
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - maxTail; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	if text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?")); text != "" {
		return text
	}
	return "nothing"
}
