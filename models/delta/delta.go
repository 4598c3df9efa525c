package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"perigee/models"
)

// A delta file is:
//
//	8 bytes   "PRGDELTA"
//	4 bytes   length of the header, big endian
//	header    deterministic CBOR (RFC 8949 section 4.2.1), see fileHeader
//	rest      the body, compressed with zstd

// FileExt is the customary extension of delta files.
const FileExt = ".pdelta"

const (
	fileMagic     = "PRGDELTA"
	fileVersion   = 1
	fileMaxHeader = 1 << 14
	fileSlack     = 1 << 16 // how much zstd may add to what does not compress
	zstdWindow    = 1 << 22
)

// Errors that callers branch on.
var (
	ErrWrongBase      = errors.New("delta is for another network")
	ErrResultMismatch = errors.New("delta does not give the network it announces")
	ErrCorrupt        = errors.New("corrupt delta")
	ErrBackbone       = errors.New("networks differ in more than their heads")
)

// Info is what a delta says of itself.
type Info struct {
	Encoding Encoding
	Base     models.Hash // network that it applies to
	Backbone models.Hash // backbone of both
	Result   models.Hash // network that results
	Layers   []int       // convolutions that change, ascending
	BodySize int         // bytes of the body before compression
}

// Delta is a delta file in memory.
type Delta struct {
	Info
	Data []byte // the file
}

type fileHeader struct {
	Version  uint64      `cbor:"1,keyasint"`
	Bits     int         `cbor:"2,keyasint"`
	Rank     int         `cbor:"3,keyasint"`
	Base     models.Hash `cbor:"4,keyasint"`
	Backbone models.Hash `cbor:"5,keyasint"`
	Result   models.Hash `cbor:"6,keyasint"`
	Layers   []int       `cbor:"7,keyasint"`
	BodySize int         `cbor:"8,keyasint"`
}

// Build returns the delta from base to target, which must have the same graph
// and backbone, and the network that applying it gives: target itself when enc
// is lossless, near to it otherwise. Convolutions that do not change take no
// room. Errors wrap ErrEncoding or ErrBackbone.
func Build(base, target *models.Network, enc Encoding) (*Delta, *models.Network, error) {
	if err := enc.check(); err != nil {
		return nil, nil, fmt.Errorf("build delta: %w", err)
	}
	if base.BackboneHash() != target.BackboneHash() || !sameShapes(base, target) {
		return nil, nil, fmt.Errorf("build delta from %v to %v: %w: send the whole model", base.Hash(), target.Hash(), ErrBackbone)
	}
	info := Info{Encoding: enc, Base: base.Hash(), Backbone: base.BackboneHash()}
	var body []byte
	from, to := base.HeadConvs(), target.HeadConvs()
	for i := range from {
		if slices.Equal(from[i].Bias, to[i].Bias) && slices.Equal(from[i].Weights, to[i].Weights) {
			continue
		}
		info.Layers = append(info.Layers, from[i].Layer)
		var err error
		if body, err = enc.appendLayer(body, &from[i], &to[i]); err != nil {
			return nil, nil, fmt.Errorf("build delta: %w", err)
		}
	}
	info.BodySize = len(body)
	result, err := applyBody(base, &info, body)
	if err != nil {
		return nil, nil, fmt.Errorf("build delta: %w", err)
	}
	info.Result = result.Hash()
	data, err := encodeFile(&info, body)
	if err != nil {
		return nil, nil, fmt.Errorf("build delta: %w", err)
	}
	return &Delta{Info: info, Data: data}, result, nil
}

// sameShapes reports whether the heads of a and b hold the same layers.
func sameShapes(a, b *models.Network) bool {
	from, to := a.Graph(), b.Graph()
	return slices.EqualFunc(from.Layers, to.Layers, func(x, y models.Layer) bool {
		same := slices.Equal(x.From, y.From) && slices.Equal(x.Anchors, y.Anchors)
		x.From, y.From, x.Anchors, y.Anchors = nil, nil, nil, nil
		return same && x.Kind == y.Kind && x.Filters == y.Filters && x.Size == y.Size && x.Stride == y.Stride &&
			x.Pad == y.Pad && x.Activation == y.Activation && x.Classes == y.Classes
	})
}

// Inspect reads the header of a delta file. Errors wrap ErrCorrupt.
func Inspect(r io.Reader) (Info, error) {
	info, err := readHeader(r)
	if err != nil {
		return Info{}, fmt.Errorf("inspect delta: %w", err)
	}
	return info, nil
}

// Apply reads a delta file to its end and returns the network it makes of base.
// Nothing of it is used before the base's hash is checked, and nothing is
// returned unless the result has the announced hash. It holds no more than the
// new head three times over, whatever the file says. Errors wrap ErrWrongBase,
// ErrCorrupt or ErrResultMismatch.
func Apply(base *models.Network, r io.Reader) (*models.Network, error) {
	info, err := readHeader(r)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	if info.Base != base.Hash() || info.Backbone != base.BackboneHash() {
		return nil, fmt.Errorf("apply delta: %w: it applies to %v, this is %v", ErrWrongBase, info.Base, base.Hash())
	}
	body, err := readBody(base, &info, r)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	result, err := applyBody(base, &info, body)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	if result.Hash() != info.Result {
		return nil, fmt.Errorf("apply delta: %w: gives %v, announces %v: ask for it again", ErrResultMismatch, result.Hash(), info.Result)
	}
	return result, nil
}

// applyBody returns base with the differences in body added. body must have the
// size that its layers need.
func applyBody(base *models.Network, info *Info, body []byte) (*models.Network, error) {
	head := base.HeadParams()
	rest, at := head, 0
	for _, c := range base.HeadConvs() {
		bias, weights := rest[:len(c.Bias)], rest[len(c.Bias):len(c.Bias)+len(c.Weights)]
		rest = rest[len(bias)+len(weights):]
		if at == len(info.Layers) || info.Layers[at] != c.Layer {
			continue
		}
		at++
		var err error
		if body, err = info.Encoding.applyLayer(&c, bias, weights, body); err != nil {
			return nil, err
		}
	}
	result, err := base.WithHead(head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return result, nil
}

// encodeFile returns the delta file.
func encodeFile(info *Info, body []byte) ([]byte, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("set up deterministic CBOR: %w", err)
	}
	header, err := enc.Marshal(fileHeader{
		Version: fileVersion, Bits: info.Encoding.Bits, Rank: info.Encoding.Rank, Base: info.Base, Backbone: info.Backbone,
		Result: info.Result, Layers: append([]int{}, info.Layers...), BodySize: info.BodySize,
	})
	if err != nil {
		return nil, fmt.Errorf("encode delta header: %w", err)
	}
	file := binary.BigEndian.AppendUint32([]byte(fileMagic), uint32(len(header)))
	file = append(file, header...)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	file = z.EncodeAll(body, file)
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress delta: %w", err)
	}
	return file, nil
}

func readHeader(r io.Reader) (Info, error) {
	var start [len(fileMagic) + 4]byte
	if err := readFull(r, start[:], "start"); err != nil {
		return Info{}, err
	}
	if string(start[:len(fileMagic)]) != fileMagic {
		return Info{}, fmt.Errorf("%w: begins with %q, want %q", ErrCorrupt, start[:len(fileMagic)], fileMagic)
	}
	length := binary.BigEndian.Uint32(start[len(fileMagic):])
	if length > fileMaxHeader {
		return Info{}, fmt.Errorf("%w: header of %d bytes, limit %d", ErrCorrupt, length, fileMaxHeader)
	}
	text := make([]byte, length)
	if err := readFull(r, text, "header"); err != nil {
		return Info{}, err
	}
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxArrayElements: models.MaxLayers, MaxMapPairs: 16, MaxNestedLevels: 4,
	}.DecMode()
	if err != nil {
		return Info{}, fmt.Errorf("set up CBOR decoding: %w", err)
	}
	var h fileHeader
	if err := dec.Unmarshal(text, &h); err != nil {
		return Info{}, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	if h.Version != fileVersion {
		return Info{}, fmt.Errorf("%w: version %d, this program reads %d", ErrCorrupt, h.Version, fileVersion)
	}
	info := Info{
		Encoding: Encoding{Bits: h.Bits, Rank: h.Rank}, Base: h.Base, Backbone: h.Backbone, Result: h.Result,
		Layers: h.Layers, BodySize: h.BodySize,
	}
	if err := info.Encoding.check(); err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return info, nil
}

// readBody checks that the header asks for what base has, and decompresses
// exactly the bytes that this needs.
func readBody(base *models.Network, info *Info, r io.Reader) ([]byte, error) {
	need, at := 0, 0
	for _, c := range base.HeadConvs() {
		if at < len(info.Layers) && info.Layers[at] == c.Layer {
			need += info.Encoding.layerSize(&c)
			at++
		}
	}
	if at != len(info.Layers) {
		return nil, fmt.Errorf("%w: layers %v are not convolutions of the head in ascending order", ErrCorrupt, info.Layers)
	}
	if need != info.BodySize {
		return nil, fmt.Errorf("%w: announces a body of %d bytes, its layers need %d", ErrCorrupt, info.BodySize, need)
	}
	z, err := zstd.NewReader(io.LimitReader(r, int64(need)+fileSlack), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(uint64(need)+fileSlack), zstd.WithDecoderMaxWindow(2*zstdWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer z.Close()
	body := make([]byte, need)
	if _, err := io.ReadFull(z, body); err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrCorrupt, err)
	}
	if extra, err := io.CopyN(io.Discard, z, 1); extra > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: does not end after its body", ErrCorrupt)
	}
	return body, nil
}

func readFull(r io.Reader, buf []byte, what string) error {
	_, err := io.ReadFull(r, buf)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: ends within its %s", ErrCorrupt, what)
	case err != nil:
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}
