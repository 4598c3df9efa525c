package labels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"

	"perigee/models"
)

// Limits on packed labels.
const (
	MaxPictures = 1024    // in one pack
	maxPacked   = 1 << 15 // objects in all of them
)

// grid is how many parts the side of a picture is cut into: boxes are rounded to a
// 1024th of it, which is less than a pixel of what networks read.
const grid = 1024

// maxSide is the largest width or height of a box that can be packed, in sides of
// the picture.
const maxSide = 2

// ErrPacked is wrapped by errors about packed labels.
var ErrPacked = errors.New("malformed packed labels")

// Key names a picture by the first bytes of its SHA-256: enough among those that a
// satellite keeps, and a fifth of the size.
type Key [6]byte

// KeyOf returns the key of a picture.
func KeyOf(picture models.Hash) Key { return Key(picture[:len(Key{})]) }

// Labelled is what is in one picture.
type Labelled struct {
	Key   Key
	Truth []models.Truth
}

// Pack writes labels in few bytes:
//
//	uvarint   number of pictures
//	uvarint   number of objects
//	6 bytes   the key of each picture
//	planes    each a zstd frame (RFC 8878) behind its length as a uvarint
//
// The planes are of 16-bit numbers, first the upper byte of all, then the lower:
// objects in each picture; then class, centre x and y, width and height of each
// object, the latter four in 1024ths of the picture. They are packed one by one,
// because what compresses well in one is not what does in another. Unpack returns
// what was packed, rounded. Errors wrap ErrPacked.
func Pack(pictures []Labelled) ([]byte, error) {
	objects := 0
	counts := make([]uint16, len(pictures))
	fields := make([][]uint16, 5)
	for i, p := range pictures {
		objects += len(p.Truth)
		if len(pictures) > MaxPictures || objects > maxPacked {
			return nil, fmt.Errorf("pack labels: %w: more than %d pictures or %d objects", ErrPacked, MaxPictures, maxPacked)
		}
		counts[i] = uint16(len(p.Truth))
		for _, t := range p.Truth {
			if t.Class < 0 || t.Class >= models.MaxClasses || !inside(t.Box) {
				return nil, fmt.Errorf("pack labels: %w: class %d at %v", ErrPacked, t.Class, t.Box)
			}
			for j, v := range [5]uint16{uint16(t.Class), part(t.Box.X), part(t.Box.Y), max(part(t.Box.W), 1), max(part(t.Box.H), 1)} {
				fields[j] = append(fields[j], v)
			}
		}
	}
	data := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(pictures))), uint64(objects))
	for _, p := range pictures {
		data = append(data, p.Key[:]...)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("pack labels: set up zstd: %w", err)
	}
	for _, values := range append([][]uint16{counts}, fields...) {
		for _, shift := range []int{8, 0} {
			plane := make([]byte, len(values))
			for i, v := range values {
				plane[i] = byte(v >> shift)
			}
			packed := z.EncodeAll(plane, nil)
			data = append(binary.AppendUvarint(data, uint64(len(packed))), packed...)
		}
	}
	return data, z.Close()
}

func part(share float32) uint16 { return uint16(math.Round(float64(share) * grid)) }

func inside(b models.Box) bool {
	return b.X >= 0 && b.X <= 1 && b.Y >= 0 && b.Y <= 1 && b.W >= 0 && b.W <= maxSide && b.H >= 0 && b.H <= maxSide
}

// Unpack reads what Pack writes. It holds no more than a megabyte, whatever data
// says. Errors wrap ErrPacked.
func Unpack(data []byte) ([]Labelled, error) {
	u := unpacker{rest: data}
	pictures, objects := u.number(MaxPictures), u.number(maxPacked)
	labelled := make([]Labelled, pictures)
	for i := range labelled {
		copy(labelled[i].Key[:], u.take(len(Key{})))
	}
	if u.err == nil {
		u.zstd, u.err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPacked), zstd.WithDecoderLowmem(true))
	}
	if u.zstd != nil {
		defer u.zstd.Close()
	}
	counts := u.values(pictures)
	var fields [5][]uint16
	for i := range fields {
		fields[i] = u.values(objects)
	}
	if u.err == nil && len(u.rest) > 0 {
		u.err = errors.New("bytes are left behind them")
	}
	at := 0
	for i := range labelled {
		n := 0
		if u.err == nil {
			n = int(counts[i])
		}
		if at+n > objects {
			u.err = errors.New("there are fewer objects than in the pictures")
			break
		}
		for ; n > 0; n-- {
			t := models.Truth{Class: int(fields[0][at]), Box: models.Box{
				X: share(fields[1][at]), Y: share(fields[2][at]), W: share(fields[3][at]), H: share(fields[4][at]),
			}}
			if t.Class >= models.MaxClasses || !inside(t.Box) {
				u.err = fmt.Errorf("class %d at %v", t.Class, t.Box)
			}
			labelled[i].Truth = append(labelled[i].Truth, t)
			at++
		}
	}
	if u.err == nil && at < objects {
		u.err = errors.New("there are more objects than in the pictures")
	}
	if u.err != nil {
		return nil, fmt.Errorf("unpack labels: %w: %w", ErrPacked, u.err)
	}
	return labelled, nil
}

func share(parts uint16) float32 { return float32(parts) / grid }

// unpacker reads packed labels up to the first error.
type unpacker struct {
	rest []byte
	zstd *zstd.Decoder
	err  error
}

func (u *unpacker) number(most uint64) int {
	v, n := binary.Uvarint(u.rest)
	if u.err == nil && (n <= 0 || v > most) {
		u.err = fmt.Errorf("a number is cut short or above %d", most)
	}
	if u.err != nil {
		return 0
	}
	u.rest = u.rest[n:]
	return int(v)
}

func (u *unpacker) take(n int) []byte {
	if u.err == nil && len(u.rest) < n {
		u.err = errors.New("they end early")
	}
	if u.err != nil {
		return nil
	}
	taken := u.rest[:n]
	u.rest = u.rest[n:]
	return taken
}

// values reads two planes of n numbers.
func (u *unpacker) values(n int) []uint16 {
	values := make([]uint16, n)
	for _, shift := range []int{8, 0} {
		packed := u.take(u.number(maxPacked + 64))
		if u.err != nil {
			return nil
		}
		plane, err := u.zstd.DecodeAll(packed, make([]byte, 0, n))
		if err != nil || len(plane) != n {
			u.err = fmt.Errorf("a plane of %d numbers has %d: %w", n, len(plane), errors.Join(err, errPlane))
			return nil
		}
		for i, b := range plane {
			values[i] |= uint16(b) << shift
		}
	}
	return values
}

var errPlane = errors.New("they do not fit")
