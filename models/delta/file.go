package delta

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"perigee/models"
)

// A delta file is:
//
//	8 bytes    "PRGDELTA"
//	4 bytes    length of the header, big endian
//	header     deterministic CBOR (RFC 8949 section 4.2.1), see fileHeader
//	64 bytes   signature, when the header names a signer
//	rest       the body, compressed with zstd

// FileExt is the customary extension of delta files.
const FileExt = ".pdelta"

const (
	fileMagic     = "PRGDELTA"
	fileStart     = len(fileMagic) + 4
	fileVersion   = 2
	fileMaxHeader = 1 << 14
	packSlack     = 1 << 16 // how much zstd may add to what does not compress
	zstdWindow    = 1 << 22
)

// fileHeader leaves out what is zero, so that a small delta stays small.
type fileHeader struct {
	Version   uint64      `cbor:"1,keyasint"`
	Bits      int         `cbor:"2,keyasint"`
	Rank      int         `cbor:"3,keyasint,omitempty"`
	Base      models.Hash `cbor:"4,keyasint"`
	Backbone  models.Hash `cbor:"5,keyasint"`
	Result    models.Hash `cbor:"6,keyasint"`
	Layers    []int       `cbor:"7,keyasint"`
	BodySize  int         `cbor:"8,keyasint"`
	Model     uint64      `cbor:"9,keyasint,omitempty"`
	Draft     bool        `cbor:"10,keyasint,omitempty"`
	Threshold float32     `cbor:"11,keyasint,omitempty"`
	MinF1     float32     `cbor:"12,keyasint,omitempty"`
	MatchIoU  float32     `cbor:"13,keyasint,omitempty"`
	Signer    []byte      `cbor:"14,keyasint,omitempty"`
	Expected  [][]byte    `cbor:"15,keyasint,omitempty"` // models.Expected in binary
}

// IsDelta tells whether data begins as delta files do.
func IsDelta(data []byte) bool { return bytes.HasPrefix(data, []byte(fileMagic)) }

// Encode returns d as a file, signed with key unless that is nil. A signature
// that d had is left out.
func (d *Delta) Encode(key ed25519.PrivateKey) ([]byte, error) {
	if err := d.Use.check(); err != nil {
		return nil, fmt.Errorf("encode delta: %w", err)
	}
	info := d.Info
	info.Signer = KeyID{}
	if key != nil {
		if len(key) != ed25519.PrivateKeySize {
			return nil, fmt.Errorf("encode delta: %w: the signing key has %d bytes, want %d", ErrKey, len(key), ed25519.PrivateKeySize)
		}
		info.Signer = IDOf(ed25519.PublicKey(key[ed25519.SeedSize:])) // as its method Public does
	}
	header, err := encodeHeader(&info)
	if err != nil {
		return nil, fmt.Errorf("encode delta: %w", err)
	}
	file := binary.BigEndian.AppendUint32([]byte(fileMagic), uint32(len(header)))
	file = append(file, header...)
	if key != nil {
		file = append(file, ed25519.Sign(key, signedText(header, d.packed))...)
	}
	return append(file, d.packed...), nil
}

func encodeHeader(info *Info) ([]byte, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("set up deterministic CBOR: %w", err)
	}
	h := fileHeader{
		Version: fileVersion, Bits: info.Encoding.Bits, Rank: info.Encoding.Rank,
		Base: info.Base, Backbone: info.Backbone, Result: info.Result, Layers: append([]int{}, info.Layers...), BodySize: info.BodySize,
		Model: info.Use.Version, Draft: info.Use.Draft, Threshold: info.Use.Threshold, MinF1: info.Use.MinF1, MatchIoU: info.Use.MatchIoU,
	}
	if info.Signer != (KeyID{}) {
		h.Signer = info.Signer[:]
	}
	if len(info.Expected) > MaxExpected {
		return nil, fmt.Errorf("header: %d expected pictures, limit %d", len(info.Expected), MaxExpected)
	}
	for i := range info.Expected {
		one, err := info.Expected[i].MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
		h.Expected = append(h.Expected, one)
	}
	header, err := enc.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if len(header) > fileMaxHeader {
		return nil, fmt.Errorf("header of %d bytes, limit %d: expect fewer pictures", len(header), fileMaxHeader)
	}
	return header, nil
}

// Decode reads a delta file, but for its body, which only Apply decompresses. It
// keeps data, which must not be written to afterwards. Errors wrap ErrCorrupt.
func Decode(data []byte) (*Delta, error) {
	d, err := decodeFile(data)
	if err != nil {
		return nil, fmt.Errorf("decode delta: %w: %w", ErrCorrupt, err)
	}
	return d, nil
}

func decodeFile(data []byte) (*Delta, error) {
	if len(data) < fileStart {
		return nil, fmt.Errorf("%d bytes are too few", len(data))
	}
	if !IsDelta(data) {
		return nil, fmt.Errorf("begins with %q, want %q", data[:len(fileMagic)], fileMagic)
	}
	length := binary.BigEndian.Uint32(data[len(fileMagic):])
	rest := data[fileStart:]
	if length > fileMaxHeader || int(length) > len(rest) {
		return nil, fmt.Errorf("header of %d bytes, limit %d, %d are there", length, fileMaxHeader, len(rest))
	}
	d := &Delta{header: rest[:length]}
	rest = rest[length:]
	var err error
	if d.Info, err = decodeHeader(d.header); err != nil {
		return nil, err
	}
	if d.Signer != (KeyID{}) {
		if len(rest) < ed25519.SignatureSize {
			return nil, errors.New("ends within its signature")
		}
		d.signature, rest = rest[:ed25519.SignatureSize], rest[ed25519.SignatureSize:]
	}
	d.packed = rest
	return d, nil
}

func decodeHeader(text []byte) (Info, error) {
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxArrayElements: models.MaxLayers, MaxMapPairs: 16, MaxNestedLevels: 4,
	}.DecMode()
	if err != nil {
		return Info{}, fmt.Errorf("set up CBOR decoding: %w", err)
	}
	var h fileHeader
	if err := dec.Unmarshal(text, &h); err != nil {
		return Info{}, fmt.Errorf("header: %w", err)
	}
	if h.Version != fileVersion {
		return Info{}, fmt.Errorf("version %d, this program reads %d", h.Version, fileVersion)
	}
	info := Info{
		Encoding: Encoding{Bits: h.Bits, Rank: h.Rank}, Base: h.Base, Backbone: h.Backbone, Result: h.Result,
		Layers: h.Layers, BodySize: h.BodySize,
		Use: Use{Version: h.Model, Draft: h.Draft, Threshold: h.Threshold, MinF1: h.MinF1, MatchIoU: h.MatchIoU},
	}
	if n := len(h.Signer); n != 0 && n != len(info.Signer) {
		return Info{}, fmt.Errorf("name of the signing key has %d bytes, want %d", n, len(info.Signer))
	}
	copy(info.Signer[:], h.Signer)
	if len(h.Expected) > MaxExpected {
		return Info{}, fmt.Errorf("%d expected pictures, limit %d", len(h.Expected), MaxExpected)
	}
	for _, one := range h.Expected {
		var e models.Expected
		if err := e.UnmarshalBinary(one); err != nil {
			return Info{}, err
		}
		info.Expected = append(info.Expected, e)
	}
	if err := errors.Join(info.Encoding.check(), info.Use.check()); err != nil {
		return Info{}, err
	}
	again, err := encodeHeader(&info)
	if err != nil {
		return Info{}, err
	}
	if !bytes.Equal(again, text) {
		return Info{}, errors.New("header is not encoded deterministically")
	}
	return info, nil
}

// compress packs a body.
func compress(body []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	packed := z.EncodeAll(body, nil)
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return packed, nil
}

// decompress unpacks a body of exactly need bytes. Errors wrap ErrCorrupt.
func decompress(packed []byte, need int) ([]byte, error) {
	if len(packed) > need+packSlack {
		return nil, fmt.Errorf("%w: %d bytes for a body of %d", ErrCorrupt, len(packed), need)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(uint64(need)+packSlack), zstd.WithDecoderMaxWindow(2*zstdWindow), zstd.WithDecoderLowmem(true))
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
