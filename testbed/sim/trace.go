package sim

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"strings"
)

// trace is everything that happened, as a hash, and its last lines.
type trace struct {
	hash  hash.Hash64
	lines []line // a ring of the last ones
	count uint64
	log   func(string)
}

// line is one line of a trace: what happened, when, where, and up to three numbers
// that tell it from others of its kind.
type line struct {
	at      int64 // ns since the start
	what    string
	node    uint64
	numbers [3]uint64
}

// keptLines is how much of a trace is shown when something was not kept.
const keptLines = 64

func newTrace(log func(string)) *trace {
	return &trace{hash: fnv.New64a(), lines: make([]line, keptLines), log: log}
}

func (t *trace) add(l line) {
	var b [40 + 16]byte
	at := binary.LittleEndian.AppendUint64(b[:0], uint64(l.at))
	at = binary.LittleEndian.AppendUint64(at, l.node)
	for _, n := range l.numbers {
		at = binary.LittleEndian.AppendUint64(at, n)
	}
	at = append(at, l.what...)
	t.hash.Write(at) // never fails
	t.lines[t.count%keptLines] = l
	t.count++
	if t.log != nil {
		t.log(l.String())
	}
}

func (l line) String() string {
	return fmt.Sprintf("%14.6f ipn:%d.0 %s %v", float64(l.at)/1e9, l.node, l.what, l.numbers)
}

// end is the last lines.
func (t *trace) end() string {
	var text strings.Builder
	for i := range min(t.count, keptLines) {
		k := t.count - min(t.count, keptLines) + i
		fmt.Fprintln(&text, t.lines[k%keptLines])
	}
	return text.String()
}
