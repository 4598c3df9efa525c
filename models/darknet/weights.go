// Package darknet reads networks from Darknet's configuration and weight files
// and folds their batch normalisation, so that they become models.Network.
//
// It reads what yolov3-tiny is made of: convolutional layers (leaky or linear,
// with or without batch normalisation), maxpool, route, upsample and yolo. A
// weight file must hold exactly the numbers that its configuration asks for.
package darknet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"perigee/models"
)

// YOLOv3TinyHead is the first layer of yolov3-tiny's head: layers 0 to 12 are
// its backbone.
const YOLOv3TinyHead = 13

// ErrConfig is wrapped by errors about a configuration file, ErrWeights by
// errors about a weight file.
var (
	ErrConfig  = errors.New("unusable darknet configuration")
	ErrWeights = errors.New("unusable darknet weights")
)

// normEpsilon is what Darknet adds to a standard deviation before dividing.
const normEpsilon = 0.000001

// ReadFiles reads a network from its two files. head is the number of the first
// layer that is retrained, such as YOLOv3TinyHead. Errors about the content wrap
// ErrConfig or ErrWeights.
func ReadFiles(config, weights string, head int) (*models.Network, error) {
	c, err := os.Open(config)
	if err != nil {
		return nil, fmt.Errorf("read darknet configuration: %w", err)
	}
	defer c.Close()
	w, err := os.Open(weights)
	if err != nil {
		return nil, fmt.Errorf("read darknet weights: %w", err)
	}
	defer w.Close()
	n, err := Read(c, w, head)
	if err != nil {
		return nil, fmt.Errorf("read darknet network %s, %s: %w", config, weights, err)
	}
	return n, nil
}

// Read is ReadFiles from streams, both read to their end.
func Read(config, weights io.Reader, head int) (*models.Network, error) {
	text, err := io.ReadAll(io.LimitReader(config, MaxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read darknet configuration: %w", err)
	}
	n, err := parseConfig(text, head)
	if err != nil {
		return nil, err
	}
	convs, err := n.graph.Convolutions()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := readHeader(weights); err != nil {
		return nil, err
	}
	var params []float32
	for _, c := range convs {
		if params, err = readConv(weights, params, c, n.normed[c.Layer]); err != nil {
			return nil, err
		}
	}
	if extra, err := io.CopyN(io.Discard, weights, 1); extra > 0 {
		return nil, fmt.Errorf("%w: bytes after the last layer: the configuration belongs to another file", ErrWeights)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read darknet weights: %w", err)
	}
	net, err := models.NewNetwork(n.graph, params)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeights, err)
	}
	return net, nil
}

// readHeader skips the header: version (major, minor, revision, each 32 bits)
// and the number of pictures seen in training, 64 bits from version 0.2 on and
// 32 bits before.
func readHeader(r io.Reader) error {
	var version [12]byte
	if err := readFull(r, version[:], "header"); err != nil {
		return err
	}
	major, minor := binary.LittleEndian.Uint32(version[0:]), binary.LittleEndian.Uint32(version[4:])
	if major >= 1000 || minor >= 1000 {
		return fmt.Errorf("%w: version %d.%d: transposed or not a weight file", ErrWeights, major, minor)
	}
	seen := make([]byte, 4)
	if major*10+minor >= 2 {
		seen = make([]byte, 8)
	}
	return readFull(r, seen, "header")
}

// readConv appends the folded biases and weights of one convolution to params.
// The file holds biases, then scales, means and variances if it is normalised,
// then weights.
func readConv(r io.Reader, params []float32, c models.Conv, normed bool) ([]float32, error) {
	what := fmt.Sprintf("layer %d", c.Layer)
	filters := c.Out.C
	bias, err := readFloats(r, filters, what)
	if err != nil {
		return nil, err
	}
	var scale, mean, variance []float32
	if normed {
		norms, err := readFloats(r, 3*filters, what)
		if err != nil {
			return nil, err
		}
		scale, mean, variance = norms[:filters], norms[filters:2*filters], norms[2*filters:]
	}
	weights, err := readFloats(r, filters*c.Columns, what)
	if err != nil {
		return nil, err
	}
	for f := range filters {
		if !normed {
			break
		}
		if !(variance[f] >= 0) {
			return nil, fmt.Errorf("%w: layer %d: variance %v of filter %d is not a positive number", ErrWeights, c.Layer, variance[f], f)
		}
		fold(weights[f*c.Columns:(f+1)*c.Columns], &bias[f], scale[f], mean[f], variance[f])
	}
	params = append(params, bias...)
	return append(params, weights...), nil
}

// fold multiplies scale*(x-mean)/deviation+bias into one filter. It computes in
// float64 with every product rounded by a conversion, so that no machine fuses
// it with the sum and all get the same network.
func fold(row []float32, bias *float32, scale, mean, variance float32) {
	factor := float64(scale) / (math.Sqrt(float64(variance)) + normEpsilon)
	for i := range row {
		row[i] = float32(float64(row[i]) * factor)
	}
	shift := float64(float64(mean) * factor)
	*bias = float32(float64(*bias) - shift)
}

// readFloats reads count numbers. Memory grows with what arrives.
func readFloats(r io.Reader, count int, what string) ([]float32, error) {
	const chunk = 8192
	buf := make([]byte, 4*min(count, chunk))
	values := make([]float32, 0, min(count, 1<<20))
	for len(values) < count {
		part := buf[:4*min(chunk, count-len(values))]
		if err := readFull(r, part, what); err != nil {
			return nil, err
		}
		for ; len(part) > 0; part = part[4:] {
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(part)))
		}
	}
	return values, nil
}

func readFull(r io.Reader, buf []byte, what string) error {
	_, err := io.ReadFull(r, buf)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: end within %s: the file is cut short or belongs to another configuration", ErrWeights, what)
	case err != nil:
		return fmt.Errorf("read darknet weights: %s: %w", what, err)
	}
	return nil
}
