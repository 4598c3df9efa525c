package payload

import (
	"crypto/ed25519"
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// Limits on lessons.
const (
	MaxLessonParts = 256
	MaxEpochs      = 1000
	MaxLessonBatch = 256 // samples of a step of training
	MaxLessonRank  = 64
)

// Course says how a satellite trains on the labels of a lesson.
type Course struct {
	_       struct{} `cbor:",toarray"`
	Epochs  uint32   // 1 to MaxEpochs
	Batch   uint32   // samples of a step, 1 to MaxLessonBatch
	Rank    uint32   // of the difference of each convolution's weights, 1 to MaxLessonRank
	Rate    float64  // of Adam at the start, above 0 and up to 1
	Seed    uint64
	HeldOut float64 // share of the samples that judge and are not learnt from, 0 to below 1
	MinGain float64 // that F1 must gain on these, -1 to 1
	MinF1   float32 // lowest F1 in the satellite's self-test, 0 to 1
}

// Lesson is a part of a labels-only update: labels of samples that the satellite
// still holds, from which it trains a new head itself. Parts differ in Part, Labels
// and Signature only.
type Lesson struct {
	_         struct{}    `cbor:",toarray"`
	Update    uint64      // number of the update, unique for the ground that sends it
	Version   uint64      // version number of the network that results
	Base      models.Hash // network that the training starts from
	Part      uint32      // number of this part, from 0
	Parts     uint32      // number of parts, 1 to MaxLessonParts
	Course    Course
	Labels    []byte // packed (labels.Pack)
	Signature []byte // Ed25519 (RFC 8032); empty when the lesson is not signed
}

// Kind returns KindLesson.
func (*Lesson) Kind() Kind { return KindLesson }

// Encode implements Message.
func (l *Lesson) Encode() ([]byte, error) { return encode(l, *l) }

// Sign signs the lesson as it is.
func (l *Lesson) Sign(key ed25519.PrivateKey) error {
	text, err := l.signedText()
	if err != nil {
		return err
	}
	l.Signature = ed25519.Sign(key, text)
	return nil
}

// SignedBy tells whether one of the keys signed the lesson.
func (l *Lesson) SignedBy(keys []ed25519.PublicKey) bool {
	text, err := l.signedText()
	if err != nil || len(l.Signature) != ed25519.SignatureSize {
		return false
	}
	for _, key := range keys {
		if ed25519.Verify(key, text, l.Signature) {
			return true
		}
	}
	return false
}

// signedText is the lesson without its signature, behind words that nothing else
// that is signed begins with.
func (l *Lesson) signedText() ([]byte, error) {
	bare := *l
	bare.Signature = nil
	data, err := bare.Encode()
	return append([]byte("perigee lesson signature\n"), data...), err
}

// DecodeLesson reads a Lesson. It does not look at the signature.
func DecodeLesson(data []byte) (*Lesson, error) {
	l, err := decode[Lesson](data, KindLesson)
	if err != nil {
		return nil, err
	}
	if err := confirm(&l, data); err != nil {
		return nil, err
	}
	return &l, nil
}

func (l *Lesson) check() error {
	if l.Parts == 0 || l.Parts > MaxLessonParts || l.Part >= l.Parts {
		return fmt.Errorf("%w: part %d of %d of a lesson", ErrMalformed, l.Part, l.Parts)
	}
	if n := len(l.Signature); n != 0 && n != ed25519.SignatureSize {
		return fmt.Errorf("%w: signature of %d bytes", ErrMalformed, n)
	}
	c := &l.Course
	inside := func(v, most uint32) bool { return v >= 1 && v <= most }
	if !inside(c.Epochs, MaxEpochs) || !inside(c.Batch, MaxLessonBatch) || !inside(c.Rank, MaxLessonRank) {
		return fmt.Errorf("%w: course of %d epochs, batches of %d and rank %d", ErrMalformed, c.Epochs, c.Batch, c.Rank)
	}
	if !(c.Rate > 0 && c.Rate <= 1) || !(c.HeldOut >= 0 && c.HeldOut < 1) || !(c.MinGain >= -1 && c.MinGain <= 1) || !(c.MinF1 >= 0 && c.MinF1 <= 1) {
		return fmt.Errorf("%w: course with rate %v, share %v held out, gain %v and F1 %v", ErrMalformed, c.Rate, c.HeldOut, c.MinGain, c.MinF1)
	}
	return nil
}

// Learned is what a satellite says of a network that it trained itself. Delta makes
// it of Base, so that the ground has its exact weights: training there would not
// give the same bits.
type Learned struct {
	_         struct{}    `cbor:",toarray"`
	Update    uint64      // of the lesson
	Version   uint64      // version number of the network
	Base      models.Hash // network that the training started from
	Result    models.Hash
	Trained   uint64       // samples that were learnt from
	Judged    uint64       // samples that judged
	Missing   uint64       // samples of the lesson that the satellite no longer held
	OldF1     float32      // on those that judged, before
	NewF1     float32      // and after the training, 0 to 1
	Threshold float32      // with which it was reached, 0 to 1
	Spent     uint64       // milliseconds that the training took
	Time      dtntime.Time // when it was done
	Delta     []byte       // delta file, not signed
}

// Kind returns KindLearned.
func (*Learned) Kind() Kind { return KindLearned }

// Encode implements Message.
func (l *Learned) Encode() ([]byte, error) { return encode(l, *l) }

// DecodeLearned reads a Learned. It does not look into the delta.
func DecodeLearned(data []byte) (*Learned, error) {
	l, err := decode[Learned](data, KindLearned)
	if err != nil {
		return nil, err
	}
	if err := confirm(&l, data); err != nil {
		return nil, err
	}
	return &l, nil
}

func (l *Learned) check() error {
	for _, v := range []float32{l.OldF1, l.NewF1, l.Threshold} {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("%w: F1 or threshold of %v, want 0 to 1", ErrMalformed, v)
		}
	}
	return nil
}
