// Package custody decides about custody transfer and compressed reporting (CCSDS
// 734.6-O-1): which number a bundle asks its next custodian under, what a custody
// signal releases, which transmissions went unanswered, and which signals, of both
// kinds, are owed to others.
//
// It refuses to know bundles, links, stores and clocks: it works on handles,
// numbers and the time it is given, and returns what follows.
package custody

import (
	"math"

	"perigee/bundle/dtntime"
)

// Limits on what is kept and sent.
const (
	// MaxSignalBytes is the size of a signal's record at which it is sent
	// without waiting for more.
	MaxSignalBytes = 1000
	// MaxSignalNumbers is how many numbers one custodian is told of at the latest,
	// so that a fast one need not wait for its bundles to be gathered.
	MaxSignalNumbers = 4096
	// MaxSequences and MaxRanges bound one signal record: sequences in one
	// disposition, and runs of numbers in one sequence.
	MaxSequences = 64
	MaxRanges    = 128
	// ReserveBlock is how many sequence numbers are reserved at a time. After a
	// crash, counting goes on behind the last reserved number.
	ReserveBlock = 1024
	// MaxSeqNum is the highest number of a sequence, after which another sequence
	// begins: constrained nodes keep numbers in 32 bits.
	MaxSeqNum = math.MaxUint32
)

// MaxSignalLifetime bounds the lifetime of a signal's bundle.
const MaxSignalLifetime = 7 * dtntime.Day
