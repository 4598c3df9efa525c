package payload

import (
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// Verdict is what the ground says is in a sample. No labels mean that nothing
// is in it.
type Verdict struct {
	Sample models.Hash // ID of the sample
	Labels []models.Truth
}

// VerdictBatch carries verdicts to the satellite.
type VerdictBatch struct {
	Time     dtntime.Time // when they were given
	Source   string       // who gave them, such as label or model; at most MaxName bytes
	Verdicts []Verdict
}

type wireVerdict struct {
	_      struct{} `cbor:",toarray"`
	Sample models.Hash
	Labels []wireLabel
}

type wireVerdictBatch struct {
	_        struct{} `cbor:",toarray"`
	Time     dtntime.Time
	Source   string
	Verdicts []wireVerdict
}

// Kind returns KindVerdictBatch.
func (*VerdictBatch) Kind() Kind { return KindVerdictBatch }

// Encode implements Message.
func (b *VerdictBatch) Encode() ([]byte, error) {
	w := wireVerdictBatch{Time: b.Time, Source: b.Source, Verdicts: make([]wireVerdict, len(b.Verdicts))}
	for i, v := range b.Verdicts {
		w.Verdicts[i] = wireVerdict{Sample: v.Sample, Labels: make([]wireLabel, len(v.Labels))}
		for j, l := range v.Labels {
			w.Verdicts[i].Labels[j] = wireLabel{Class: uint32(l.Class), X: l.Box.X, Y: l.Box.Y, W: l.Box.W, H: l.Box.H}
		}
	}
	return encode(b, w)
}

// DecodeVerdictBatch reads a VerdictBatch.
func DecodeVerdictBatch(data []byte) (*VerdictBatch, error) {
	w, err := decode[wireVerdictBatch](data, KindVerdictBatch)
	if err != nil {
		return nil, err
	}
	b := &VerdictBatch{Time: w.Time, Source: w.Source, Verdicts: make([]Verdict, len(w.Verdicts))}
	for i, v := range w.Verdicts {
		b.Verdicts[i] = Verdict{Sample: v.Sample, Labels: make([]models.Truth, len(v.Labels))}
		for j, l := range v.Labels {
			b.Verdicts[i].Labels[j] = models.Truth{Class: int(l.Class), Box: models.Box{X: l.X, Y: l.Y, W: l.W, H: l.H}}
		}
	}
	if err := confirm(b, data); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *VerdictBatch) check() error {
	if err := checkText("source", b.Source, MaxName); err != nil {
		return err
	}
	if err := checkCount("verdicts", len(b.Verdicts), MaxVerdicts); err != nil {
		return err
	}
	for i, v := range b.Verdicts {
		if err := checkCount("labels", len(v.Labels), MaxDetections); err != nil {
			return fmt.Errorf("verdict %d: %w", i, err)
		}
		for _, l := range v.Labels {
			if err := checkClass(l.Class); err != nil {
				return fmt.Errorf("verdict %d: %w", i, err)
			}
			if err := checkBox(l.Box); err != nil {
				return fmt.Errorf("verdict %d: %w", i, err)
			}
		}
	}
	return nil
}
