//go:build ort

package ort

import (
	"errors"
	"fmt"
	"slices"

	onnxruntime "github.com/yalue/onnxruntime_go"

	"perigee/models"
)

// Runtime is the loaded library. A process has at most one at a time.
type Runtime struct{}

// Open loads libonnxruntime from the file with the given path.
func Open(library string) (*Runtime, error) {
	if onnxruntime.IsInitialized() {
		return nil, errors.New("open onnxruntime: this process has it open already")
	}
	onnxruntime.SetSharedLibraryPath(library)
	if err := onnxruntime.InitializeEnvironment(onnxruntime.WithLogLevelError()); err != nil {
		return nil, fmt.Errorf("open onnxruntime: %w; is %s the shared library?", err, library)
	}
	// It must not call home; versions without telemetry say that they cannot.
	_ = onnxruntime.DisableTelemetry()
	return &Runtime{}, nil
}

// Version returns the version of the library.
func (*Runtime) Version() string { return onnxruntime.GetVersion() }

// Close unloads the library. Engines and sessions must be closed before.
func (*Runtime) Close() error { return onnxruntime.DestroyEnvironment() }

// piece is a model with the memory of what it reads and computes. Maps that two
// pieces share are passed on without being copied.
type piece struct {
	session *onnxruntime.AdvancedSession
	in, out []*onnxruntime.Tensor[float32]
	shared  bool // in belongs to somebody else
}

// newTensor returns a map of zeros.
func newTensor(dims []int) (*onnxruntime.Tensor[float32], error) {
	shape := make(onnxruntime.Shape, len(dims))
	for i, d := range dims {
		shape[i] = int64(d)
	}
	return onnxruntime.NewEmptyTensor[float32](shape)
}

// newPiece makes an ONNX file ready to run on up to threads cores. It takes over in
// and out, unless in is shared.
func newPiece(file []byte, inputs, outputs []string, in, out []*onnxruntime.Tensor[float32], shared bool, threads int) (p *piece, err error) {
	p = &piece{in: in, out: out, shared: shared}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
			p = nil
		}
	}()
	options, err := onnxruntime.NewSessionOptions()
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, options.Destroy()) }()
	if err := options.SetIntraOpNumThreads(threads); err != nil {
		return p, err
	}
	if err := options.SetInterOpNumThreads(1); err != nil {
		return p, err
	}
	p.session, err = onnxruntime.NewAdvancedSessionWithONNXData(file, inputs, outputs, values(in), values(out), options)
	return p, err
}

func values(tensors []*onnxruntime.Tensor[float32]) []onnxruntime.Value {
	list := make([]onnxruntime.Value, len(tensors))
	for i, t := range tensors {
		list[i] = t
	}
	return list
}

func (p *piece) close() error {
	if p == nil {
		return nil
	}
	var errs []error
	if p.session != nil {
		errs = append(errs, p.session.Destroy())
	}
	tensors := p.out
	if !p.shared {
		tensors = slices.Concat(p.in, p.out)
	}
	for _, t := range tensors {
		if t != nil {
			errs = append(errs, t.Destroy())
		}
	}
	return errors.Join(errs...)
}

// Session runs any ONNX file with one picture as its input and maps of floats as its
// outputs, also one that package onnx cannot read.
type Session struct {
	session *onnxruntime.DynamicAdvancedSession
	outputs int
}

// NewSession makes an ONNX file ready to run on up to threads cores.
func (*Runtime) NewSession(file []byte, threads int) (s *Session, err error) {
	in, out, err := onnxruntime.GetInputOutputInfoWithONNXData(file)
	if err != nil {
		return nil, fmt.Errorf("start onnxruntime session: %w", err)
	}
	if len(in) != 1 || len(out) == 0 {
		return nil, fmt.Errorf("start onnxruntime session: %d inputs and %d outputs, want one picture and at least one output", len(in), len(out))
	}
	var names []string
	for _, o := range out {
		names = append(names, o.Name)
	}
	options, err := onnxruntime.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("start onnxruntime session: %w", err)
	}
	defer func() { err = errors.Join(err, options.Destroy()) }()
	if err := options.SetIntraOpNumThreads(threads); err != nil {
		return nil, fmt.Errorf("start onnxruntime session: %w", err)
	}
	session, err := onnxruntime.NewDynamicAdvancedSessionWithONNXData(file, []string{in[0].Name}, names, options)
	if err != nil {
		return nil, fmt.Errorf("start onnxruntime session: %w", err)
	}
	return &Session{session: session, outputs: len(names)}, nil
}

// Run computes the outputs for a picture, each as its values in row-major order.
func (s *Session) Run(picture models.Tensor) (outputs [][]float32, err error) {
	in, err := onnxruntime.NewTensor(onnxruntime.NewShape(1, int64(picture.C), int64(picture.H), int64(picture.W)), picture.Data)
	if err != nil {
		return nil, fmt.Errorf("run onnxruntime session: %w", err)
	}
	defer func() { err = errors.Join(err, in.Destroy()) }()
	out := make([]onnxruntime.Value, s.outputs)
	if err := s.session.Run([]onnxruntime.Value{in}, out); err != nil {
		return nil, fmt.Errorf("run onnxruntime session: %w", err)
	}
	for i, v := range out {
		t, ok := v.(*onnxruntime.Tensor[float32])
		if !ok {
			err = errors.Join(err, fmt.Errorf("run onnxruntime session: output %d holds no floats", i))
		} else {
			outputs = append(outputs, slices.Clone(t.GetData()))
		}
		err = errors.Join(err, v.Destroy())
	}
	return outputs, err
}

// Close frees what the session holds.
func (s *Session) Close() error { return s.session.Destroy() }
