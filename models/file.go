package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/renameio/v2"
)

// A model file is:
//
//	8 bytes   "PRGMODEL"
//	4 bytes   length of the header, big endian
//	header    deterministic CBOR, see fileHeader
//	rest      every parameter as float32, little endian, in the order of Network
//
// The header names the hashes that the parameters must give, so a file that was
// damaged anywhere does not load.

// FileExt is the customary extension of model files.
const FileExt = ".pmodel"

// FileMagic are the first bytes of every model file.
const FileMagic = "PRGMODEL"

const (
	fileVersion   = 1
	fileMaxHeader = 1 << 20
)

// ErrCorrupt is wrapped by errors about a model file that is damaged, cut short
// or not a model file.
var ErrCorrupt = errors.New("corrupt model file")

type fileHeader struct {
	Version  uint64 `cbor:"1,keyasint"`
	Graph    Graph  `cbor:"2,keyasint"`
	Params   uint64 `cbor:"3,keyasint"`
	Hash     Hash   `cbor:"4,keyasint"`
	Backbone Hash   `cbor:"5,keyasint"`
	Head     Hash   `cbor:"6,keyasint"`
}

// Write writes n as a model file.
func Write(w io.Writer, n *Network) error {
	enc, err := graphEncoding()
	if err != nil {
		return err
	}
	header, err := enc.Marshal(fileHeader{
		Version: fileVersion, Graph: n.graph, Params: uint64(n.plan.params),
		Hash: n.hash, Backbone: n.backboneHash, Head: n.headHash,
	})
	if err != nil {
		return fmt.Errorf("encode model header: %w", err)
	}
	start := binary.BigEndian.AppendUint32([]byte(FileMagic), uint32(len(header)))
	if _, err := w.Write(append(start, header...)); err != nil {
		return fmt.Errorf("write model header: %w", err)
	}
	buf := make([]byte, 0, 4*floatChunk)
	for _, params := range [][]float32{n.backbone, n.head} {
		for len(params) > 0 {
			count := min(len(params), floatChunk)
			if _, err := w.Write(AppendFloats(buf[:0], params[:count])); err != nil {
				return fmt.Errorf("write model parameters: %w", err)
			}
			params = params[count:]
		}
	}
	return nil
}

// WriteFile writes n to path so that the old file or the whole new one is there
// after a crash: into a temporary file, synced, renamed, and the folder synced.
func WriteFile(path string, n *Network) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write model %s: %w", path, err)
	}
	defer f.Cleanup()
	if err := Write(f, n); err != nil {
		return fmt.Errorf("write model %s: %w", path, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write model %s: %w", path, err)
	}
	return nil
}

// ReadFile reads a model file and checks its hashes. Errors about its content
// wrap ErrCorrupt.
func ReadFile(path string) (*Network, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	defer f.Close()
	n, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("read model %s: %w", path, err)
	}
	return n, nil
}

// Read reads a model file up to its end and checks its hashes. Errors about its
// content wrap ErrCorrupt. It holds no more than about three times what was read
// and 4 MiB, whatever the header says.
func Read(r io.Reader) (*Network, error) {
	header, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	plan, err := header.Graph.check()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if header.Params != uint64(plan.params) {
		return nil, fmt.Errorf("%w: header announces %d parameters, its graph needs %d", ErrCorrupt, header.Params, plan.params)
	}
	params, err := readFloats(r, plan.params)
	if err != nil {
		return nil, err
	}
	if extra, err := io.CopyN(io.Discard, r, 1); extra > 0 {
		return nil, fmt.Errorf("%w: bytes after the last parameter", ErrCorrupt)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read model parameters: %w", err)
	}
	n, err := NewNetwork(header.Graph, params)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for _, part := range []struct {
		name      string
		want, got Hash
	}{{"backbone", header.Backbone, n.backboneHash}, {"head", header.Head, n.headHash}, {"network", header.Hash, n.hash}} {
		if part.want != part.got {
			return nil, fmt.Errorf("%w: hash of the %s is %v, the header says %v: copy the file again", ErrCorrupt, part.name, part.got, part.want)
		}
	}
	return n, nil
}

func readHeader(r io.Reader) (*fileHeader, error) {
	var start [len(FileMagic) + 4]byte
	if err := readFull(r, start[:], "start"); err != nil {
		return nil, err
	}
	if string(start[:len(FileMagic)]) != FileMagic {
		return nil, fmt.Errorf("%w: begins with %q, want %q", ErrCorrupt, start[:len(FileMagic)], FileMagic)
	}
	length := binary.BigEndian.Uint32(start[len(FileMagic):])
	if length > fileMaxHeader {
		return nil, fmt.Errorf("%w: header of %d bytes, limit %d", ErrCorrupt, length, fileMaxHeader)
	}
	text := make([]byte, length)
	if err := readFull(r, text, "header"); err != nil {
		return nil, err
	}
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxArrayElements: MaxLayers, MaxMapPairs: 64, MaxNestedLevels: 8,
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("set up CBOR decoding: %w", err)
	}
	header := new(fileHeader)
	if err := dec.Unmarshal(text, header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	if header.Version != fileVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrCorrupt, header.Version, fileVersion)
	}
	return header, nil
}

// readFloats reads count parameters. Memory grows with what arrives, not with
// what was announced.
func readFloats(r io.Reader, count int) ([]float32, error) {
	const first = 1 << 20
	params := make([]float32, 0, min(count, first))
	buf := make([]byte, 4*floatChunk)
	for len(params) < count {
		if len(params) == cap(params) {
			grown := make([]float32, len(params), min(count, 2*cap(params)))
			copy(grown, params)
			params = grown
		}
		n := min(floatChunk, cap(params)-len(params))
		if err := readFull(r, buf[:4*n], "parameters"); err != nil {
			return nil, err
		}
		for i := range n {
			params = append(params, math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:])))
		}
	}
	return params, nil
}

// readFull fills buf; a file that ends before is corrupt.
func readFull(r io.Reader, buf []byte, what string) error {
	_, err := io.ReadFull(r, buf)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: ends within its %s", ErrCorrupt, what)
	case err != nil:
		return fmt.Errorf("read model %s: %w", what, err)
	}
	return nil
}
