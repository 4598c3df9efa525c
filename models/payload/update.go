package payload

import (
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/models"
)

// UpdateKind says what the parts of an update add up to.
type UpdateKind uint8

// The kinds of updates.
const (
	UpdateDelta UpdateKind = 1 // delta files, each to be applied to its Base
	UpdateModel UpdateKind = 2 // a whole model file; Base is zero
)

// String returns the name of k.
func (k UpdateKind) String() string {
	switch k {
	case UpdateDelta:
		return "delta"
	case UpdateModel:
		return "model"
	}
	return fmt.Sprintf("update kind %d", uint8(k))
}

// Golden is the test that a new network must pass on board before it is used:
// on the pictures kept for it, F1 at Threshold with MatchIoU is at least MinF1.
type Golden struct {
	_         struct{} `cbor:",toarray"`
	MinF1     float32  // 0 to 1; 0 asks for no more than that the network runs
	Threshold float32  // lowest score that counts, 0 to 1; also what to detect with from then on
	MatchIoU  float32  // overlap that counts as found, 0 to 1
}

// ModelPart is a part of an update, verifiable alone and enough to know its step.
//
// An update goes in steps, coarse to fine. Each is a file of its own, cut into
// parts: a delta for the network that the step before gives, or, as the only
// step, a whole model. So whoever has all parts of the first few steps has a
// whole network. The parts of one step differ in Index, Offset, Data and DataHash
// only; those of one update agree in Update, Version, Type, Steps and Backbone.
type ModelPart struct {
	_        struct{} `cbor:",toarray"`
	Update   uint64   // number of the update, unique for the ground that sends it
	Version  uint64   // version number of the network that results
	Type     UpdateKind
	Step     uint32      // number of the step, from 0
	Steps    uint32      // number of steps
	Draft    bool        // the result of this step must not be taken into use
	Encoding string      // how a delta is encoded, for people; at most MaxName bytes
	Base     models.Hash // network that a delta applies to
	Result   models.Hash // network that results from the step
	Backbone models.Hash // backbone of both
	Size     uint64      // bytes of the step's file
	Hash     models.Hash // SHA-256 of it
	Index    uint32      // number of this part, from 0
	Count    uint32      // number of parts of the step
	Offset   uint64      // where Data begins in the file
	Data     []byte      // 1 to MaxPart bytes
	DataHash models.Hash // SHA-256 of Data
	Golden   Golden
}

// Kind returns KindModelPart.
func (*ModelPart) Kind() Kind { return KindModelPart }

// Encode implements Message.
func (p *ModelPart) Encode() ([]byte, error) { return encode(p, *p) }

// DecodeModelPart reads a ModelPart and checks its DataHash.
func DecodeModelPart(data []byte) (*ModelPart, error) {
	p, err := decode[ModelPart](data, KindModelPart)
	if err != nil {
		return nil, err
	}
	if err := confirm(&p, data); err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *ModelPart) check() error {
	if p.Type != UpdateDelta && p.Type != UpdateModel {
		return fmt.Errorf("%w: unknown %v", ErrMalformed, p.Type)
	}
	if p.Steps == 0 || p.Steps > MaxSteps || p.Step >= p.Steps || p.Type == UpdateModel && p.Steps > 1 {
		return fmt.Errorf("%w: step %d of %d of a %v", ErrMalformed, p.Step, p.Steps, p.Type)
	}
	if p.Draft && p.Step == p.Steps-1 {
		return fmt.Errorf("%w: the last step of an update is a draft", ErrMalformed)
	}
	if err := checkText("encoding", p.Encoding, MaxName); err != nil {
		return err
	}
	if p.Size == 0 || p.Size > MaxUpdate {
		return fmt.Errorf("%w: step of %d bytes, want 1 to %d", ErrLimit, p.Size, MaxUpdate)
	}
	if p.Count == 0 || p.Count > MaxParts || p.Index >= p.Count {
		return fmt.Errorf("%w: part %d of %d", ErrMalformed, p.Index, p.Count)
	}
	size := uint64(len(p.Data))
	if size == 0 || size > MaxPart || size > p.Size || p.Offset > p.Size-size {
		return fmt.Errorf("%w: part of %d bytes at %d of %d", ErrMalformed, size, p.Offset, p.Size)
	}
	if first, last := p.Index == 0, p.Index == p.Count-1; first != (p.Offset == 0) || last != (p.Offset+size == p.Size) {
		return fmt.Errorf("%w: part %d of %d lies at %d to %d of %d", ErrMalformed, p.Index, p.Count, p.Offset, p.Offset+size, p.Size)
	}
	if p.DataHash != models.HashBytes(p.Data) {
		return fmt.Errorf("%w: hash %v is not that of the part's data", ErrMalformed, p.DataHash)
	}
	for _, v := range []float32{p.Golden.MinF1, p.Golden.Threshold, p.Golden.MatchIoU} {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("%w: golden test of %v, want 0 to 1", ErrMalformed, v)
		}
	}
	return nil
}

// Split cuts the file of a step into parts of at most partSize bytes. Everything
// that describes the step is taken from the template, and a step of none is the
// only one; Size, Hash, Index, Count, Offset, Data and DataHash are filled in. Data
// is shared with file.
func Split(template ModelPart, file []byte, partSize int) ([]ModelPart, error) {
	if partSize < 1 || partSize > MaxPart {
		return nil, fmt.Errorf("split update: %w: parts of %d bytes, want 1 to %d", ErrLimit, partSize, MaxPart)
	}
	count := (len(file) + partSize - 1) / partSize
	if len(file) == 0 || len(file) > MaxUpdate || count > MaxParts {
		return nil, fmt.Errorf("split update: %w: %d bytes in %d parts, want 1 to %d in up to %d", ErrLimit, len(file), count, MaxUpdate, MaxParts)
	}
	template.Steps = max(template.Steps, 1)
	template.Size, template.Hash, template.Count = uint64(len(file)), models.HashBytes(file), uint32(count)
	parts := make([]ModelPart, count)
	for i := range parts {
		from := i * partSize
		p := template
		p.Index, p.Offset = uint32(i), uint64(from)
		p.Data = file[from:min(from+partSize, len(file))]
		p.DataHash = models.HashBytes(p.Data)
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("split update: part %d: %w", i, err)
		}
		parts[i] = p
	}
	return parts, nil
}

// Status is how far an update has come on board.
type Status uint8

// The states of an update.
const (
	StatusReceived   Status = 1 // every part of a step, and of those before it, is there
	StatusVerified   Status = 2 // these give the network that was announced, signed as it must be
	StatusActive     Status = 3 // the network of one of its steps passed its trial and runs; Reason says what the trial found
	StatusRefused    Status = 4 // it will not be used; Reason says why
	StatusRolledBack Status = 5 // it ran, and the network before it runs again; Reason says why
)

// String returns the name of s.
func (s Status) String() string {
	switch s {
	case StatusReceived:
		return "received"
	case StatusVerified:
		return "verified"
	case StatusActive:
		return "active"
	case StatusRefused:
		return "refused"
	case StatusRolledBack:
		return "rolled-back"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Receipt tells the ground what became of an update.
type Receipt struct {
	_             struct{} `cbor:",toarray"`
	Update        uint64
	Version       uint64 // version number of the update
	Step          uint32 // number of the step that was received, is verified or became active; 0 when the update has failed
	Status        Status
	Reason        string       // why, for people; at most MaxReason bytes
	Active        models.Hash  // network that runs now
	ActiveVersion uint64       // its version number
	Time          dtntime.Time // when this was so
}

// Kind returns KindReceipt.
func (*Receipt) Kind() Kind { return KindReceipt }

// Encode implements Message.
func (r *Receipt) Encode() ([]byte, error) { return encode(r, *r) }

// DecodeReceipt reads a Receipt.
func DecodeReceipt(data []byte) (*Receipt, error) {
	r, err := decode[Receipt](data, KindReceipt)
	if err != nil {
		return nil, err
	}
	if err := confirm(&r, data); err != nil {
		return nil, err
	}
	return &r, nil
}

func (r *Receipt) check() error {
	if r.Status < StatusReceived || r.Status > StatusRolledBack {
		return fmt.Errorf("%w: unknown %v", ErrMalformed, r.Status)
	}
	if r.Step >= MaxSteps || r.Step > 0 && r.Status > StatusActive {
		return fmt.Errorf("%w: step %d of an update that is %v", ErrMalformed, r.Step, r.Status)
	}
	return checkText("reason", r.Reason, MaxReason)
}
