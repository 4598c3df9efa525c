package app

import (
	"context"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// OnBoard is what the satellite application of a node says of its networks. Here and
// below, the name of a network is "sha256:" and 64 hexadecimal digits.
type OnBoard struct {
	// Slots are those in use: first the one of the network that flies, then the one
	// of the network to go back to. There is none before the application has started.
	Slots   []Slot `json:"slots"`
	Failure string `json:"failure,omitempty"` // why this is not known
}

// Slot is a place for a network on board.
type Slot struct {
	Slot    string `json:"slot"`
	Active  bool   `json:"active"`
	Network string `json:"network"`
	Version uint64 `json:"version"`
	Update  uint64 `json:"update"` // that brought it; 0: the satellite was launched with it
	// PicturesLeft is how many pictures the active network has yet to look at before
	// it has proved itself; 0: it has.
	PicturesLeft uint64 `json:"pictures_left"`
}

// Satellite is what a client of a daemon can also do where that runs the satellite
// application.
type Satellite interface {
	// RollBack takes the network that flies out of use for a reason, and has the one
	// before it fly again. It returns once that is durable, and fails with ErrRejected
	// when there is none, and with ErrNotFound where no satellite application runs.
	RollBack(ctx context.Context, reason string) (RolledBack, error)
}

// RolledBack is what flew and what flies in its place.
type RolledBack struct {
	Was   Slot `json:"was"`
	Flies Slot `json:"flies"`
}

// OnGround is what the ground application of a node says of its networks.
type OnGround struct {
	// Stage is where the loop stands, and empty before the application has started.
	Stage    string `json:"stage"`
	Version  uint64 `json:"version"`           // that the running round makes
	Waiting  string `json:"waiting,omitempty"` // what the next round waits for
	Networks []Kept `json:"networks"`          // in order of their names
	// Satellites are those of the configuration, in its order.
	Satellites []Flying `json:"satellites"`
	Failure    string   `json:"failure,omitempty"` // why the networks are not known
}

// Kept is a network that the ground keeps.
type Kept struct {
	Network string `json:"network"`
	Bytes   int64  `json:"bytes"`
}

// Flying is what a satellite flies by its last receipt or telemetry, or else by what
// it was launched with.
type Flying struct {
	Satellite bundle.EID   `json:"satellite"`
	Network   string       `json:"network"`
	Version   uint64       `json:"version"`
	At        dtntime.Time `json:"at,omitempty"` // when it said so, by its own clock; 0: never
}
