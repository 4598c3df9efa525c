// Package payload holds what satellite and ground tell each other: telemetry,
// batches of hard samples and previews of them, parts of model updates, receipts
// for them, verdicts (labels going up), requests for pictures, lessons for training
// on board, and what came of these. Each is one application data unit of one bundle.
//
// On the wire a message is the CBOR array [version, kind, body], encoded
// deterministically (RFC 8949 section 4.2.1); docs/payloads.cddl is its schema.
// Decoding refuses what is not exactly what encoding makes, and whatever is
// beyond the limits of this package. The package refuses to know bundles and
// endpoints.
package payload

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"perigee/models"
)

// Version is the version of the schema, the first field of every message.
const Version = 1

// Limits. They bound what a decoder accepts and what an encoder makes.
const (
	MaxMessage    = 9 << 20 // bytes of any message
	MaxSmall      = 1 << 20 // bytes of a message that is no batch of samples and no model part
	MaxBatch      = 8 << 20 // bytes of pictures in a batch of samples
	MaxSamples    = 256     // samples in a batch
	MaxPicture    = 2 << 20 // bytes of a picture
	MaxPart       = 1 << 20 // bytes of a part of an update
	MaxSteps      = 64      // steps of an update
	MaxParts      = 1 << 16 // parts of a step
	MaxUpdate     = 1 << 28 // bytes of a step
	MaxDetections = 1024    // detections or labels of one picture
	MaxVerdicts   = 1024    // verdicts in a batch
	MaxWorth      = 1000    // of a sample
	MaxName       = 128     // bytes of a name
	MaxReason     = 256     // bytes of a reason
	maxPartHead   = 4096    // bytes of a model part besides its data
)

// Errors that callers branch on. Every decoding error wraps ErrMalformed, and
// ErrVersion besides when the message is of another version.
var (
	ErrMalformed = errors.New("malformed payload")
	ErrVersion   = errors.New("payload of another version")
	ErrLimit     = errors.New("payload over a limit")
)

// Kind says what a message is. It is its second field.
type Kind uint8

// The kinds of messages.
const (
	KindTelemetry    Kind = 1
	KindSampleBatch  Kind = 2
	KindModelPart    Kind = 3
	KindReceipt      Kind = 4
	KindVerdictBatch Kind = 5
	KindLesson       Kind = 6
	KindLearned      Kind = 7
	KindPreview      Kind = 8
	KindRequest      Kind = 9
	KindGone         Kind = 10
)

// String returns the name of k.
func (k Kind) String() string {
	switch k {
	case KindTelemetry:
		return "telemetry"
	case KindSampleBatch:
		return "sample batch"
	case KindModelPart:
		return "model part"
	case KindReceipt:
		return "receipt"
	case KindVerdictBatch:
		return "verdict batch"
	case KindPreview:
		return "preview"
	case KindRequest:
		return "request"
	case KindGone:
		return "gone"
	case KindLesson:
		return "lesson"
	case KindLearned:
		return "learned"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// limit returns how many bytes a message of kind k may have.
func (k Kind) limit() int {
	switch k {
	case KindSampleBatch:
		return MaxMessage
	case KindModelPart:
		return MaxPart + maxPartHead
	}
	return MaxSmall
}

// Message is one of *Telemetry, *SampleBatch, *ModelPart, *Receipt, *VerdictBatch,
// *Lesson, *Learned, *Preview, *Request and *Gone.
type Message interface {
	// Kind returns the kind of the message.
	Kind() Kind
	// Encode returns the message as bytes, or an error that wraps ErrLimit or
	// ErrMalformed when a field is not as documented.
	Encode() ([]byte, error)
	check() error
}

// envelope is a message on the wire.
type envelope[T any] struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Kind    Kind
	Body    T
}

// encode checks m and returns its envelope around body.
func encode[T any](m Message, body T) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Kind(), err)
	}
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	enc, err := options.EncMode()
	if err != nil {
		return nil, fmt.Errorf("set up deterministic CBOR: %w", err)
	}
	data, err := enc.Marshal(envelope[T]{Version: Version, Kind: m.Kind(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", m.Kind(), err)
	}
	if limit := m.Kind().limit(); len(data) > limit {
		return nil, fmt.Errorf("encode %v: %w: %d bytes, limit %d", m.Kind(), ErrLimit, len(data), limit)
	}
	return data, nil
}

// decode reads an envelope of the given kind.
func decode[T any](data []byte, kind Kind) (T, error) {
	var e envelope[T]
	if limit := kind.limit(); len(data) > limit {
		return e.Body, fmt.Errorf("decode %v: %w: %w: %d bytes, limit %d", kind, ErrMalformed, ErrLimit, len(data), limit)
	}
	if got, err := peek(data); err != nil {
		return e.Body, fmt.Errorf("decode %v: %w", kind, err)
	} else if got != kind {
		return e.Body, fmt.Errorf("decode %v: %w: it is a %v", kind, ErrMalformed, got)
	}
	dec, err := decoding()
	if err != nil {
		return e.Body, err
	}
	if err := dec.Unmarshal(data, &e); err != nil {
		return e.Body, fmt.Errorf("decode %v: %w: %w", kind, ErrMalformed, err)
	}
	return e.Body, nil
}

func decoding() (cbor.DecMode, error) {
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxArrayElements: max(MaxDetections, MaxVerdicts, MaxSamples), MaxMapPairs: 16, MaxNestedLevels: 8,
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("set up CBOR decoding: %w", err)
	}
	return dec, nil
}

// peek returns the kind of a message from its first bytes: an array of three, a
// version and a kind below 24.
func peek(data []byte) (Kind, error) {
	const start = 3
	if len(data) < start || data[0] != 0x83 || data[1] > 0x17 || data[2] > 0x17 {
		return 0, fmt.Errorf("%w: does not begin with an array of version, kind and body", ErrMalformed)
	}
	if data[1] != Version {
		return 0, fmt.Errorf("%w: %w: %d, this program reads %d", ErrMalformed, ErrVersion, data[1], Version)
	}
	return Kind(data[2]), nil
}

// confirm checks a decoded message, and that data is what encoding makes of it.
func confirm(m Message, data []byte) error {
	again, err := m.Encode()
	if err != nil {
		return fmt.Errorf("decode: %w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("decode %v: %w: not encoded deterministically", m.Kind(), ErrMalformed)
	}
	return nil
}

// Decode reads a message of any kind.
func Decode(data []byte) (Message, error) {
	kind, err := peek(data)
	if err != nil {
		return nil, fmt.Errorf("decode payload: %w", err)
	}
	switch kind {
	case KindTelemetry:
		return message(DecodeTelemetry(data))
	case KindSampleBatch:
		return message(DecodeSampleBatch(data))
	case KindModelPart:
		return message(DecodeModelPart(data))
	case KindReceipt:
		return message(DecodeReceipt(data))
	case KindVerdictBatch:
		return message(DecodeVerdictBatch(data))
	case KindPreview:
		return message(DecodePreview(data))
	case KindRequest:
		return message(DecodeRequest(data))
	case KindGone:
		return message(DecodeGone(data))
	case KindLesson:
		return message(DecodeLesson(data))
	case KindLearned:
		return message(DecodeLearned(data))
	}
	return nil, fmt.Errorf("decode payload: %w: unknown %v", ErrMalformed, kind)
}

// message makes an interface of a decoded message, nil when there is an error.
func message[M Message](m M, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// wireDetection is a models.Detection on the wire.
type wireDetection struct {
	_          struct{} `cbor:",toarray"`
	Class      uint32
	Score      float32
	X, Y, W, H float32
}

// wireLabel is a models.Truth on the wire.
type wireLabel struct {
	_          struct{} `cbor:",toarray"`
	Class      uint32
	X, Y, W, H float32
}

func checkText(what, text string, limit int) error {
	if len(text) > limit {
		return fmt.Errorf("%w: %s of %d bytes, limit %d", ErrLimit, what, len(text), limit)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("%w: %s is not UTF-8", ErrMalformed, what)
	}
	return nil
}

func checkCount(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%w: %d %s, limit %d", ErrLimit, n, what, limit)
	}
	return nil
}

func checkClass(class int) error {
	if class < 0 || class >= models.MaxClasses {
		return fmt.Errorf("%w: class %d is out of range", ErrMalformed, class)
	}
	return nil
}

func checkFinite(what string, values ...float64) error {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: %s is %v", ErrMalformed, what, v)
		}
	}
	return nil
}

func checkBox(b models.Box) error {
	return checkFinite("box", float64(b.X), float64(b.Y), float64(b.W), float64(b.H))
}
