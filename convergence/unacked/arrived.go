package unacked

import (
	"bytes"
	"errors"
	"sync"

	"perigee/convergence"
)

// Arrived is a bundle that has arrived in full and is in memory, for layers that get
// bundles so. Its peer is not told what becomes of it.
type Arrived struct {
	length  int
	settled func(accepted bool)

	mu      sync.Mutex // guards all below
	rest    bytes.Reader
	decided bool // accepted or refused
	refused bool
}

// NewArrived returns a bundle of the bytes raw, which must stay as they are while
// IsRead is false. Once it is accepted or refused it calls settled.
func NewArrived(raw []byte, settled func(accepted bool)) *Arrived {
	return &Arrived{length: len(raw), settled: settled, rest: *bytes.NewReader(raw)}
}

// Length is the length of the bundle in bytes.
func (a *Arrived) Length() int64 { return int64(a.length) }

// IsRead tells whether the bundle needs its bytes no more.
func (a *Arrived) IsRead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rest.Len() == 0 || a.refused
}

// Read implements io.Reader.
func (a *Arrived) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused {
		return 0, errors.New("read bundle: it was refused")
	}
	return a.rest.Read(p)
}

// Accept works after the end of the session too, since the bundle is here in full.
func (a *Arrived) Accept() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.decided:
		return errors.New("accept bundle: it was accepted or refused before")
	case a.rest.Len() > 0:
		return errors.New("accept bundle: it has not been read to its end")
	}
	a.decided = true
	a.settled(true)
	return nil
}

// Refuse drops the bundle.
func (a *Arrived) Refuse(convergence.RefuseReason) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.decided {
		return errors.New("refuse bundle: it was accepted or refused before")
	}
	a.decided, a.refused = true, true
	a.settled(false)
	return nil
}
