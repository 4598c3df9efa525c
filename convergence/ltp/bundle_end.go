package ltp

import (
	"encoding/binary"
	"errors"
)

// maxNesting is how deep the arrays of a bundle may be nested. Blocks are byte
// strings, so a bundle needs four levels.
const maxNesting = 16

// errNotBundle says that the bytes are not one well-formed item of CBOR.
var errNotBundle = errors.New("bytes are not a bundle")

// bundleFront is how many bytes tell whether a bundle begins.
const bundleFront = 3

// beginsBundle says whether b begins like a bundle of RFC 9171: an array of
// indefinite length, in it the primary block, an array of 8 to 11 items, in it the
// version number 7.
func beginsBundle(b []byte) bool {
	return len(b) >= bundleFront && b[0] == 0x9f && b[1] >= 0x88 && b[1] <= 0x8b && b[2] == 7
}

// A bundleScanner finds where a bundle ends. It looks at the heads of CBOR items
// only, so that it passes over a payload without reading it.
type bundleScanner struct {
	depth int
	open  [maxNesting]uint64 // items to come at each level, or indefinite
	skip  uint64             // bytes of a string to pass over
	head  [9]byte            // of an item, as far as it has come
	have  int
}

const indefinite = ^uint64(0)

// scan takes the bytes that follow those before, and says how many it used and
// whether the bundle ends there.
func (s *bundleScanner) scan(b []byte) (n int, end bool, err error) {
	for n < len(b) {
		if s.skip > 0 {
			k := min(s.skip, uint64(len(b)-n))
			s.skip -= k
			n += int(k)
			if s.skip > 0 || !s.complete() {
				continue
			}
			return n, true, nil
		}
		s.head[s.have] = b[n]
		s.have++
		n++
		if s.have < headLength(s.head[0]) {
			continue
		}
		s.have = 0
		if end, err = s.item(); end || err != nil {
			return n, end, err
		}
	}
	return n, false, nil
}

// headLength is the length of an item's head, by its first byte.
func headLength(first byte) int {
	if info := first & 0x1f; info >= 24 && info <= 27 {
		return 1 + 1<<(info-24)
	}
	return 1
}

// argument is the number in the head.
func (s *bundleScanner) argument() uint64 {
	switch headLength(s.head[0]) {
	case 2:
		return uint64(s.head[1])
	case 3:
		return uint64(binary.BigEndian.Uint16(s.head[1:]))
	case 5:
		return uint64(binary.BigEndian.Uint32(s.head[1:]))
	case 9:
		return binary.BigEndian.Uint64(s.head[1:])
	}
	return uint64(s.head[0] & 0x1f)
}

// item acts on a head, and says whether the bundle ends with it.
func (s *bundleScanner) item() (end bool, err error) {
	major, info := s.head[0]>>5, s.head[0]&0x1f
	if info >= 28 && info <= 30 || info == 31 && (major < 2 || major == 6) {
		return false, errNotBundle
	}
	arg := s.argument()
	switch {
	case s.head[0] == 0xff: // ends an item of indefinite length
		if s.depth == 0 || s.open[s.depth-1] != indefinite {
			return false, errNotBundle
		}
		s.depth--
		return s.complete(), nil
	case info == 31:
		return false, s.push(indefinite)
	case major == 2 || major == 3:
		s.skip = arg
		return arg == 0 && s.complete(), nil
	case major == 4 && arg > 0:
		return false, s.push(arg)
	case major == 5 && arg > 0:
		if arg > indefinite/4 {
			return false, errNotBundle
		}
		return false, s.push(2 * arg)
	case major == 6: // a tag; its item follows
		return false, nil
	}
	return s.complete(), nil
}

func (s *bundleScanner) push(items uint64) error {
	if s.depth == maxNesting || items == 0 {
		return errNotBundle
	}
	s.open[s.depth] = items
	s.depth++
	return nil
}

// complete notes that an item is complete, and says whether it was the outermost.
func (s *bundleScanner) complete() bool {
	for s.depth > 0 {
		top := &s.open[s.depth-1]
		if *top == indefinite {
			return false
		}
		if *top--; *top > 0 {
			return false
		}
		s.depth--
	}
	return true
}
