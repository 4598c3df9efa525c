package ltp

import (
	"errors"
	"fmt"
	"io"

	"perigee/convergence"
)

// errWait says that the next bytes of a bundle have not come yet.
var errWait = errors.New("no data have come")

// errNotOpen is returned for a bundle that is decided already, or was never there.
var errNotOpen = errors.New("bundle is not open")

// Limits on the bundles of one block.
const (
	maxUnits    = 1 << 12
	maxRefusals = maxExtension / 4 // that are told one by one
)

// reading is what a block of the peer has to do with its reader.
type reading struct {
	unit      int    // bundles that were begun
	undecided int    // bundles that were begun and neither accepted nor refused
	readAt    uint64 // what lies before was read, or is not wanted
	counted   uint64 // as readable

	// The bundle that is read, or was last.
	unitStart uint64
	unitEnd   uint64
	unitEnds  bool // unitEnd is known
	shape     unitShape
	scanner   bundleScanner
	scanned   uint64 // how far the scanner has come

	refusedWhole bool
	refusals     []refusal
}

// unitShape says how the end of a bundle is found.
type unitShape uint8

const (
	shapeUnknown unitShape = iota // too little of it is there
	shapeBundle                   // it tells by itself
	shapeOpaque                   // it ends with its block
)

// Arrival hands the next bundle to the reader, in the order in which they became
// complete, or large. Length is -1 while it is not known. The one before must have
// been read to its end, or refused.
func (m *Machine) Arrival() (u Unit, length int64, ok bool) {
	rx := &m.rx
	for {
		b := rx.current
		if b == nil || b.state != inOpen || b.refusedWhole || b.isRead() {
			if rx.ready.len() == 0 {
				return Unit{}, 0, false
			}
			rx.current = rx.ready.pop()
			continue
		}
		if m.startUnit(b) {
			break
		}
	}
	b := rx.current
	length = -1
	if b.unitEnds {
		length = int64(b.unitEnd - b.unitStart)
	}
	return Unit{b.session, b.unit - 1}, length, true
}

// isRead says whether all of a block was read. Nothing is known of a block's end
// before it is complete.
func (b *inBlock) isRead() bool { return b.complete && b.readAt == b.end && b.unit > 0 }

// startUnit begins the next bundle of a block, or refuses a block that is none.
func (m *Machine) startUnit(b *inBlock) bool {
	if b.unit == 0 {
		m.rx.queue(&m.rx.told, b)
	}
	if b.service == serviceAggregation {
		front := b.data.append(nil, span{b.readAt, b.readAt + 1})
		if len(front) == 0 || front[0] != serviceBundle {
			m.refuseWhole(b, CancelUnreachable, convergence.RefuseUnknown)
			return false
		}
		b.readAt++
	}
	if b.unit == maxUnits {
		m.refuseWhole(b, CancelBySystem, convergence.RefuseNotAcceptable)
		return false
	}
	b.unit++
	b.undecided++
	b.unitStart, b.unitEnds, b.shape = b.readAt, false, shapeUnknown
	b.scanner, b.scanned = bundleScanner{}, b.readAt
	m.scan(b)
	m.countReadable(b)
	return true
}

// scan looks for the end of the current bundle in what has come.
func (m *Machine) scan(b *inBlock) {
	there := b.received.prefix()
	if b.shape == shapeUnknown && (there >= b.unitStart+bundleFront || b.complete) {
		b.shape = shapeOpaque
		front := b.data.append(nil, span{b.unitStart, min(there, b.unitStart+bundleFront)})
		if beginsBundle(front) {
			b.shape = shapeBundle
		}
	}
	if b.shape == shapeBundle && !b.unitEnds {
		b.data.each(span{b.scanned, there}, func(pg *page, from, to int) {
			if b.unitEnds || b.shape != shapeBundle {
				return
			}
			n, end, err := b.scanner.scan(pg.buf[from:to])
			b.scanned += uint64(n)
			switch {
			case err != nil: // whoever parses it will say what is wrong
				b.shape = shapeOpaque
			case end:
				b.unitEnd, b.unitEnds = b.scanned, true
			}
		})
	}
	if b.complete && !b.unitEnds { // also a bundle that is cut off
		b.unitEnd, b.unitEnds = b.end, true
	}
}

// readTo is how far the reader may go now.
func (b *inBlock) readTo() uint64 {
	switch {
	case b.unitEnds:
		return min(b.unitEnd, b.received.prefix())
	case b.shape == shapeBundle:
		return b.scanned
	case b.shape == shapeOpaque:
		return b.received.prefix()
	}
	return b.readAt
}

// current finds the block of a bundle that was begun.
func (m *Machine) current(u Unit) (*inBlock, error) {
	b := m.rx.blocks[u.Block]
	switch {
	case b == nil || u.Index >= b.unit || b.undecided == 0:
		return nil, errNotOpen
	case b.state == inBroken:
		return b, fmt.Errorf("%w by its sender", ErrCancelled)
	}
	return b, nil
}

// Read gives the next bytes of the bundle that Arrival returned last: io.EOF at its
// end, errWait while nothing has come.
func (m *Machine) Read(u Unit, p []byte) (int, error) {
	b, err := m.current(u)
	if err != nil {
		return 0, err
	}
	if u.Index != b.unit-1 || b.refusedWhole {
		return 0, errNotOpen
	}
	m.scan(b)
	n := int(min(uint64(len(p)), b.readTo()-b.readAt))
	if n == 0 {
		if b.unitEnds && b.readAt == b.unitEnd {
			return 0, io.EOF
		}
		return 0, errWait
	}
	b.data.append(p[:0], span{b.readAt, b.readAt + uint64(n)})
	m.moveReader(b, b.readAt+uint64(n))
	return n, nil
}

// moveReader notes that what lies before an offset was read, or is not wanted.
func (m *Machine) moveReader(b *inBlock, at uint64) {
	b.readAt = at
	b.data.dropBefore(at)
	m.countReadable(b)
	m.readerMoved()
}

// AtEnd says whether a bundle was read to its end.
func (m *Machine) AtEnd(u Unit) bool {
	b := m.rx.blocks[u.Block]
	return b == nil || u.Index < b.unit-1 || b.unitEnds && b.readAt == b.unitEnd
}

// Accept says that a bundle is durable. The block is reported once all its bundles
// are decided, and all blocks before it.
func (m *Machine) Accept(u Unit) error {
	b, err := m.current(u)
	if err != nil {
		return fmt.Errorf("accept bundle: %w", m.letGo(b, err))
	}
	if !m.AtEnd(u) {
		return errors.New("accept bundle: its data have not all come")
	}
	b.undecided--
	m.settle()
	return nil
}

// Refuse refuses a bundle, read to its end or not. RFC 5326 can only cancel a whole
// block, so the other bundles of a block go with it, unless the peer understands
// more.
func (m *Machine) Refuse(u Unit, reason convergence.RefuseReason) error {
	b, err := m.current(u)
	if err != nil {
		return fmt.Errorf("refuse bundle: %w", m.letGo(b, err))
	}
	b.undecided--
	isAlone := u.Index == 0 && b.unit == 1 && (!b.complete || !b.unitEnds || b.unitEnd >= b.end)
	switch {
	case isAlone, len(b.refusals) == maxRefusals:
		m.refuseWhole(b, cancelReason(reason), reason)
	case m.link.known:
		b.refusals = append(b.refusals, refusal{unit: uint64(u.Index), reason: reason})
	case b.service == serviceBundle && cancelReason(reason) == CancelByUser:
		// It may not come again, so it is dropped, and the others are taken.
	default:
		m.refuseWhole(b, cancelReason(reason), reason)
	}
	if b.state == inOpen && !b.refusedWhole && u.Index == b.unit-1 && b.unitEnds {
		m.moveReader(b, b.unitEnd)
	}
	m.settle()
	return nil
}

// letGo takes note that the reader has no use for a broken bundle any more.
func (m *Machine) letGo(b *inBlock, err error) error {
	if b != nil {
		if b.undecided--; b.undecided == 0 {
			m.closeIn(b)
		}
	}
	return err
}

// refuseWhole refuses a block. The peer is told when the turn of the block comes.
func (m *Machine) refuseWhole(b *inBlock, reason CancelReason, refused convergence.RefuseReason) {
	b.refusedWhole, b.reason, b.refused = true, reason, refused
	m.freeIn(b)
	m.readerMoved()
	m.settle()
}
