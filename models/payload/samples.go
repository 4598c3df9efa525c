package payload

import (
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// Sample is a picture that the satellite was unsure of.
type Sample struct {
	ID      models.Hash  // SHA-256 of Picture
	Name    string       // what the satellite calls it; at most MaxName bytes
	Taken   dtntime.Time // when it was taken
	Picture []byte       // JPEG; at most MaxPicture bytes
	Found   []models.Detection
	Model   models.Hash // network that looked
	Filter  string      // filter that called it hard
	Value   float64     // what that filter compared
	Worth   uint32      // what it is worth to the ground, 0 (unknown) to MaxWorth
}

// NewSample returns a sample of picture with its ID.
func NewSample(picture []byte) Sample { return Sample{ID: models.HashBytes(picture), Picture: picture} }

// SampleBatch carries samples. Their pictures take at most MaxBatch bytes.
type SampleBatch struct {
	Batch   uint64 // number of the batch, unique for the satellite
	Samples []Sample
}

type wireSample struct {
	_       struct{} `cbor:",toarray"`
	ID      models.Hash
	Name    string
	Taken   dtntime.Time
	Picture []byte
	Found   []wireDetection
	Model   models.Hash
	Filter  string
	Value   float64
	Worth   uint32
}

type wireSampleBatch struct {
	_       struct{} `cbor:",toarray"`
	Batch   uint64
	Samples []wireSample
}

// Kind returns KindSampleBatch.
func (*SampleBatch) Kind() Kind { return KindSampleBatch }

// Encode implements Message.
func (b *SampleBatch) Encode() ([]byte, error) {
	w := wireSampleBatch{Batch: b.Batch, Samples: make([]wireSample, len(b.Samples))}
	for i := range b.Samples {
		w.Samples[i] = b.Samples[i].wire()
	}
	return encode(b, w)
}

func (s *Sample) wire() wireSample {
	w := wireSample{
		ID: s.ID, Name: s.Name, Taken: s.Taken, Picture: s.Picture, Found: make([]wireDetection, len(s.Found)),
		Model: s.Model, Filter: s.Filter, Value: s.Value, Worth: s.Worth,
	}
	for j, d := range s.Found {
		w.Found[j] = wireDetection{Class: uint32(d.Class), Score: d.Score, X: d.Box.X, Y: d.Box.Y, W: d.Box.W, H: d.Box.H}
	}
	return w
}

func (w *wireSample) sample() Sample {
	s := Sample{
		ID: w.ID, Name: w.Name, Taken: w.Taken, Picture: w.Picture, Found: make([]models.Detection, len(w.Found)),
		Model: w.Model, Filter: w.Filter, Value: w.Value, Worth: w.Worth,
	}
	for j, d := range w.Found {
		s.Found[j] = models.Detection{Class: int(d.Class), Score: d.Score, Box: models.Box{X: d.X, Y: d.Y, W: d.W, H: d.H}}
	}
	return s
}

// DecodeSampleBatch reads a SampleBatch and checks every sample's ID.
func DecodeSampleBatch(data []byte) (*SampleBatch, error) {
	w, err := decode[wireSampleBatch](data, KindSampleBatch)
	if err != nil {
		return nil, err
	}
	b := &SampleBatch{Batch: w.Batch, Samples: make([]Sample, len(w.Samples))}
	for i := range w.Samples {
		b.Samples[i] = w.Samples[i].sample()
	}
	if err := confirm(b, data); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *SampleBatch) check() error {
	if err := checkCount("samples", len(b.Samples), MaxSamples); err != nil {
		return err
	}
	total := 0
	for i := range b.Samples {
		if err := b.Samples[i].check(); err != nil {
			return fmt.Errorf("sample %d: %w", i, err)
		}
		total += len(b.Samples[i].Picture)
	}
	return checkCount("bytes of pictures", total, MaxBatch)
}

func (s *Sample) check() error {
	if err := checkCount("bytes of picture", len(s.Picture), MaxPicture); err != nil {
		return err
	}
	if s.ID != models.HashBytes(s.Picture) {
		return fmt.Errorf("%w: id %v is not the hash of its picture", ErrMalformed, s.ID)
	}
	return s.checkAbout()
}

// checkAbout checks what is said about the picture.
func (s *Sample) checkAbout() error {
	if err := checkText("name", s.Name, MaxName); err != nil {
		return err
	}
	if err := checkText("filter name", s.Filter, MaxName); err != nil {
		return err
	}
	if err := checkFinite("filter value", s.Value); err != nil {
		return err
	}
	if err := checkCount("worth", int(s.Worth), MaxWorth); err != nil {
		return err
	}
	if err := checkCount("detections", len(s.Found), MaxDetections); err != nil {
		return err
	}
	for _, d := range s.Found {
		if err := checkClass(d.Class); err != nil {
			return err
		}
		if err := checkFinite("score", float64(d.Score)); err != nil {
			return err
		}
		if err := checkBox(d.Box); err != nil {
			return err
		}
	}
	return nil
}
