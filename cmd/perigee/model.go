package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perigee/models"
	"perigee/models/darknet"
	"perigee/models/delta"
	"perigee/models/onnx"
	"perigee/models/safetensors"
)

func newModel(e *env) *cobra.Command {
	return group("model", "Look at networks, convert them, and pack and send their changes",
		`Networks come as Perigee's own model files (.pmodel), as ONNX files (.onnx), and as
Darknet configurations (.cfg) with weights; changes of networks as delta files
(.pdelta). Only push, ls and rollback need a daemon.`,
		newModelInspect(e), newModelConvert(e), newModelDelta(e), newModelApply(e), newModelPush(e), newModelLs(e), newModelRollback(e))
}

// modelSource is a network in files, and where it is to be cut.
type modelSource struct {
	file    string
	weights string
	head    string
	input   string
}

func (s *modelSource) flags(f *pflag.FlagSet) {
	f.StringVar(&s.weights, "weights", "", "`file` of weights: Darknet's for a .cfg, else safetensors that replace the network's")
	f.StringVar(&s.head, "head", "", "where the head begins: `names` or numbers of layers, separated by commas; auto chooses")
	f.StringVar(&s.input, "input", "", "`size` of the picture, such as 3x416x416, where an ONNX file leaves it open")
}

// automatic as the value of --head lets the head be chosen.
const automatic = "auto"

// formats of networks.
const (
	formatPmodel  = "pmodel"
	formatONNX    = "onnx"
	formatDarknet = "darknet"
)

// read reads the network and says in which format it came.
func (s *modelSource) read() (*models.Network, string, error) {
	size, err := parseSize(s.input)
	if err != nil {
		return nil, "", err
	}
	format, err := s.format()
	if err != nil {
		return nil, "", err
	}
	n, err := s.readAs(format, size)
	if err != nil {
		return nil, "", malformedModel(err)
	}
	if s.weights != "" && format != formatDarknet {
		if n, err = safetensors.ReadFile(s.weights, n); err != nil {
			return nil, "", malformedModel(err)
		}
	}
	return n, format, nil
}

// format looks at the name and the first bytes of the file.
func (s *modelSource) format() (string, error) {
	if strings.EqualFold(filepath.Ext(s.file), ".cfg") {
		return formatDarknet, nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return "", fmt.Errorf("read model: %w", err)
	}
	defer f.Close() // only read from
	start := make([]byte, len(models.FileMagic))
	if _, err := io.ReadFull(f, start); err == nil && bytes.Equal(start, []byte(models.FileMagic)) {
		return formatPmodel, nil
	}
	return formatONNX, nil
}

func (s *modelSource) readAs(format string, size models.Shape) (*models.Network, error) {
	head := s.head
	if head == automatic {
		head = ""
	}
	if format == formatONNX {
		return onnx.ReadFile(s.file, onnx.Options{Input: size, Head: head})
	}
	if size != (models.Shape{}) {
		return nil, usagef("--input is for ONNX files; %s says itself how large its picture is", s.file)
	}
	var n *models.Network
	var err error
	if format == formatDarknet {
		if s.weights == "" {
			return nil, usagef("%s is a Darknet configuration: name its file of weights with --weights", s.file)
		}
		// Any cut will do at first: it is chosen below.
		n, err = darknet.ReadFiles(s.file, s.weights, 1)
		if s.head == "" {
			s.head = automatic
		}
	} else {
		n, err = models.ReadFile(s.file)
	}
	if err != nil || s.head == "" {
		return n, err
	}
	return n.Cut(head)
}

// parseSize reads a size such as 3x416x416.
func parseSize(text string) (models.Shape, error) {
	var s models.Shape
	if text == "" {
		return s, nil
	}
	parts := strings.Split(text, "x")
	if len(parts) != 3 {
		return s, usagef("size %q is not channels x height x width, such as 3x416x416", text)
	}
	for i, to := range []*int{&s.C, &s.H, &s.W} {
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < 1 {
			return s, usagef("size %q is not channels x height x width, such as 3x416x416", text)
		}
		*to = n
	}
	return s, nil
}

// malformedModel marks errors about the content of files.
func malformedModel(err error) error {
	if errors.Is(err, onnx.ErrOpenSize) {
		return usagef("%w with --input, such as 3x416x416", err)
	}
	for _, content := range []error{
		models.ErrCorrupt, models.ErrGraph, models.ErrParams, onnx.ErrFile, onnx.ErrUnsupported,
		darknet.ErrConfig, darknet.ErrWeights, safetensors.ErrFile,
		delta.ErrCorrupt, delta.ErrWrongBase, delta.ErrResultMismatch, delta.ErrBackbone, delta.ErrUnsigned, delta.ErrUntrusted,
	} {
		if errors.Is(err, content) {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
	}
	return err
}

func newModelConvert(e *env) *cobra.Command {
	var s modelSource
	cmd := &cobra.Command{
		Use:   "convert FILE OUT",
		Short: "Write a network in another format",
		Long: `Convert reads a network as inspect does and writes it to OUT, whose name says as
what: .pmodel for satellites and ground stations, .onnx for other runtimes, or
.safetensors for the parameters alone. OUT appears whole or not at all.`,
		Example: `  perigee model convert detector.onnx detector.pmodel --input 3x640x640
  perigee model convert yolov3-tiny.cfg tiny.pmodel --weights yolov3-tiny.weights
  perigee model convert tiny.pmodel tiny.safetensors`,
		Args: exactArgs("FILE", "OUT"),
		RunE: func(_ *cobra.Command, args []string) error {
			s.file = args[0]
			return runModelConvert(e, s, args[1])
		},
	}
	s.flags(cmd.Flags())
	return cmd
}

func runModelConvert(e *env, s modelSource, out string) error {
	write := map[string]func(n *models.Network) error{
		models.FileExt: func(n *models.Network) error { return models.WriteFile(out, n) },
		".onnx": func(n *models.Network) error {
			return writeWhole(out, func(w io.Writer) error {
				file, err := onnx.Marshal(n, onnx.Whole)
				if err == nil {
					_, err = w.Write(file)
				}
				return err
			})
		},
		".safetensors": func(n *models.Network) error {
			return writeWhole(out, func(w io.Writer) error { return safetensors.Write(w, n) })
		},
	}[strings.ToLower(filepath.Ext(out))]
	if write == nil {
		return usagef("%s ends in none of %s, .onnx and .safetensors, which say what to write", out, models.FileExt)
	}
	n, _, err := s.read()
	if err != nil {
		return fmt.Errorf("convert %s: %w", s.file, err)
	}
	if err := write(n); err != nil {
		return fmt.Errorf("convert %s: %w", s.file, err)
	}
	view := struct {
		File string      `json:"file"`
		Hash models.Hash `json:"hash"`
	}{out, n.Hash()}
	return e.print(view, func(w io.Writer) { row(w, view.Hash, view.File) })
}

// writeWhole writes a file that appears whole or not at all.
func writeWhole(path string, write func(w io.Writer) error) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := write(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
