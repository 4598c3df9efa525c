package payload

import (
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// Limits on previews and on what is said about them.
const (
	MaxSketch    = 256      // numbers of a sketch
	MaxThumbnail = 64 << 10 // bytes
	MaxAsked     = 1024     // samples of a request or a notice
)

// Preview announces a sample whose picture waits on board until the ground asks for
// it.
type Preview struct {
	Sample    Sample // without its picture
	Bytes     uint64 // of the picture, 1 to MaxPicture
	Sketch    []float32
	Thumbnail []byte // JPEG
}

// Request asks for the pictures of samples that were announced.
type Request struct {
	Time    dtntime.Time
	Samples []models.Hash
}

// Gone says that pictures that were asked for are on board no longer.
type Gone struct {
	Time    dtntime.Time
	Samples []models.Hash
}

type wirePreview struct {
	_         struct{} `cbor:",toarray"`
	Sample    wireSample
	Bytes     uint64
	Sketch    []float32
	Thumbnail []byte
}

type wireRequest struct {
	_       struct{} `cbor:",toarray"`
	Time    dtntime.Time
	Samples []models.Hash
}

type wireGone struct {
	_       struct{} `cbor:",toarray"`
	Samples []models.Hash
	Time    dtntime.Time
}

// Kind returns KindPreview.
func (*Preview) Kind() Kind { return KindPreview }

// Encode implements Message.
func (p *Preview) Encode() ([]byte, error) {
	return encode(p, wirePreview{Sample: p.Sample.wire(), Bytes: p.Bytes, Sketch: p.Sketch, Thumbnail: p.Thumbnail})
}

// DecodePreview reads a Preview.
func DecodePreview(data []byte) (*Preview, error) {
	w, err := decode[wirePreview](data, KindPreview)
	if err != nil {
		return nil, err
	}
	p := &Preview{Sample: w.Sample.sample(), Bytes: w.Bytes, Sketch: w.Sketch, Thumbnail: w.Thumbnail}
	if err := confirm(p, data); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Preview) check() error {
	switch {
	case len(p.Sample.Picture) > 0:
		return fmt.Errorf("%w: a preview with the picture itself", ErrMalformed)
	case p.Bytes < 1 || p.Bytes > MaxPicture:
		return fmt.Errorf("%w: picture of %d bytes, want 1 to %d", ErrLimit, p.Bytes, MaxPicture)
	}
	if err := checkCount("numbers of sketch", len(p.Sketch), MaxSketch); err != nil {
		return err
	}
	for _, v := range p.Sketch {
		if err := checkFinite("sketch", float64(v)); err != nil {
			return err
		}
	}
	if err := checkCount("bytes of thumbnail", len(p.Thumbnail), MaxThumbnail); err != nil {
		return err
	}
	return p.Sample.checkAbout()
}

// Kind returns KindRequest.
func (*Request) Kind() Kind { return KindRequest }

// Encode implements Message.
func (r *Request) Encode() ([]byte, error) {
	return encode(r, wireRequest{Time: r.Time, Samples: r.Samples})
}

// DecodeRequest reads a Request.
func DecodeRequest(data []byte) (*Request, error) {
	w, err := decode[wireRequest](data, KindRequest)
	if err != nil {
		return nil, err
	}
	r := &Request{Time: w.Time, Samples: w.Samples}
	if err := confirm(r, data); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Request) check() error { return checkCount("samples", len(r.Samples), MaxAsked) }

// Kind returns KindGone.
func (*Gone) Kind() Kind { return KindGone }

// Encode implements Message.
func (g *Gone) Encode() ([]byte, error) {
	return encode(g, wireGone{Time: g.Time, Samples: g.Samples})
}

// DecodeGone reads a Gone.
func DecodeGone(data []byte) (*Gone, error) {
	w, err := decode[wireGone](data, KindGone)
	if err != nil {
		return nil, err
	}
	g := &Gone{Time: w.Time, Samples: w.Samples}
	if err := confirm(g, data); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Gone) check() error { return checkCount("samples", len(g.Samples), MaxAsked) }
