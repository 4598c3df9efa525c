package ground

import (
	"context"
	"errors"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/models"
	"perigee/models/payload"
)

// ErrNoLabel is the answer of a Labeller when nobody has labelled the sample yet.
var ErrNoLabel = errors.New("sample has no label yet")

// A Labeller says what is in a picture.
type Labeller interface {
	// Label returns the objects in the picture of a sample, which may be none,
	// or an error that wraps ErrNoLabel when this is not known yet.
	Label(ctx context.Context, s Sample) ([]models.Truth, error)
}

// Sample is a hard sample as it is kept.
type Sample struct {
	ID        models.Hash        `json:"id"`   // SHA-256 of the picture
	Name      string             `json:"name"` // that the satellite gave the picture
	Satellite bundle.EID         `json:"satellite"`
	Taken     dtntime.Time       `json:"taken"`
	Received  dtntime.Time       `json:"received"`
	Model     models.Hash        `json:"model"`           // that was unsure
	Bytes     int64              `json:"bytes"`           // of the picture
	Worth     uint32             `json:"worth,omitempty"` // what the satellite took it to be worth
	Found     []models.Detection `json:"found"`
}

// Stage is where the loop stands.
type Stage string

// The stages of a round, in order.
const (
	StageCollect  Stage = "collect"  // waiting for labelled samples
	StageFeatures Stage = "features" // running the backbone
	StageTrain    Stage = "train"
	StageBuild    Stage = "build"    // packing the change of model
	StageEvaluate Stage = "evaluate" // old and new on the held-out samples
	StageGate     Stage = "gate"     // deciding whether the new one may fly
	StageSend     Stage = "send"     // handing the parts to the node
	StageWait     Stage = "wait"     // for receipts
)

// Progress is how far the ground is. It is what status.json holds.
type Progress struct {
	At       dtntime.Time `json:"at"`
	Version  uint64       `json:"version"` // that the running round makes
	Stage    Stage        `json:"stage"`
	Received int          `json:"samples_received"`
	// Duplicates is how often a sample came that was there.
	Duplicates int `json:"samples_duplicate"`
	Labelled   int `json:"samples_labelled"`
	Fresh      int `json:"samples_fresh"` // labelled since the last round
	// Waiting says what the next round waits for.
	Waiting string  `json:"waiting,omitempty"`
	Done    int     `json:"done"` // steps of the stage: samples, epochs, parts or receipts
	Of      int     `json:"of"`
	Loss    float64 `json:"loss,omitempty"` // of the last epoch
	// CheckLoss is that on the samples that end the training, and Left how long
	// the training takes yet.
	CheckLoss  float64          `json:"check_loss,omitempty"`
	Left       dtntime.Duration `json:"left,omitempty"`
	Active     models.Hash      `json:"active_model"` // what the satellites are believed to fly
	Announced  models.Hash      `json:"announced_model"`
	DeltaBytes int64            `json:"delta_bytes,omitempty"`

	Satellites []Satellite `json:"satellites"`
	Rounds     []Round     `json:"rounds"` // that ended, the newest last

	consumed uint64 // label number that Fresh counts from
	changed  bool   // the file must be written
}

// An Observer is told of progress. It is called from one goroutine at a time and
// must not block.
type Observer interface{ Progress(Progress) }

// Satellite is what the ground knows of one satellite.
type Satellite struct {
	Node    bundle.EID   `json:"node"`
	Active  models.Hash  `json:"active"` // by its last receipt or telemetry
	Version uint64       `json:"version"`
	At      dtntime.Time `json:"at"`    // when it said so, by its own clock
	Heard   dtntime.Time `json:"heard"` // when anything came from it last

	// The last receipt: of which update, and what became of it.
	Update uint64         `json:"update,omitempty"`
	Step   uint32         `json:"step,omitempty"` // whose network became active
	Status payload.Status `json:"status,omitempty"`
	Reason string         `json:"reason,omitempty"`

	Lesson Lesson `json:"lesson,omitzero"` // the last that it learned
}

// Lesson is what a satellite said of a network that it trained itself.
type Lesson struct {
	Update  uint64           `json:"update"`
	Model   models.Hash      `json:"model"`
	Trained uint64           `json:"samples_trained"`
	Judged  uint64           `json:"samples_held_out"`
	Missing uint64           `json:"samples_missing"` // that it no longer held
	F1Old   float32          `json:"f1_old"`          // on those that judged
	F1New   float32          `json:"f1_new"`
	Spent   dtntime.Duration `json:"spent"`
}

// The outcomes of a round.
const (
	OutcomeDeployed    = "deployed"     // at least one satellite flies the new network
	OutcomeNotDeployed = "not deployed" // it was sent, and none does
	OutcomeGate        = "stopped by the gate"
	OutcomeFailed      = "failed" // Reason says why
)

// Round is how one round ended. It is what reports/VERSION.json holds, besides
// how it was judged.
type Round struct {
	Version    uint64       `json:"version"`
	Outcome    string       `json:"outcome,omitempty"`
	Reason     string       `json:"reason,omitempty"`
	Base       models.Hash  `json:"base"`
	Model      models.Hash  `json:"model"`
	F1Old      float32      `json:"f1_old"`
	F1New      float32      `json:"f1_new"`
	DeltaBytes int64        `json:"delta_bytes,omitempty"`
	Finished   dtntime.Time `json:"finished,omitempty"`
}
