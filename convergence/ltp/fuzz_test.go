package ltp

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// FuzzSegments parses arbitrary bytes as every kind of segment. What was parsed
// encodes to something that parses the same.
func FuzzSegments(f *testing.F) {
	for _, c := range codecs() {
		f.Add(c.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range codecs() {
			s, n, err := c.parse(b)
			if n > len(b) || (err == nil) != (n > 0) {
				t.Fatalf("%s: used %d of %d bytes: %v", c.name, n, len(b), err)
			}
			if err != nil {
				continue
			}
			once := encoded(s)
			s, n, err = c.parse(once)
			if err != nil || n != len(once) || !bytes.Equal(encoded(s), once) {
				t.Fatalf("%s: %x encodes as %x, which reads as %+v: %v", c.name, b, once, s, err)
			}
		}
	})
}

// encoded is a segment, or an extension's value, as its encoder writes it.
func encoded(v any) []byte {
	switch s := v.(type) {
	case dataSegment:
		return s.append(nil)
	case reportSegment:
		return s.append(nil)
	case reportAck:
		return s.append(nil)
	case cancelSegment:
		return s.append(nil)
	case cancelAck:
		return s.append(nil)
	case linkState:
		return s.append(nil)
	case refusal:
		return s.append(nil)
	}
	return nil
}

// FuzzBundleEnd looks for the end of arbitrary bytes, at once and byte by byte.
func FuzzBundleEnd(f *testing.F) {
	f.Add(sampleBundle(0))
	f.Add(sampleBundle(30))
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole, pieces bundleScanner
		n, end, err := whole.scan(b)
		at, pieceEnd := 0, false
		var pieceErr error
		for at < len(b) && !pieceEnd && pieceErr == nil {
			var used int
			used, pieceEnd, pieceErr = pieces.scan(b[at : at+1])
			at += used
		}
		if at != n || pieceEnd != end || (pieceErr == nil) != (err == nil) {
			t.Fatalf("%x: %d, %t, %v at once; %d, %t, %v in pieces", b, n, end, err, at, pieceEnd, pieceErr)
		}
	})
}

// Limits of the machine that is fuzzed.
const (
	fuzzHeld   = 256 << 10
	fuzzBlocks = 8
)

// FuzzMachine lets a peer send arbitrary datagrams, each behind its length, to a
// machine that sends and reads: it must hold no more than it may, and put out no
// datagram that is too long or cannot be parsed.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{})
	var all []byte
	for _, c := range codecs() {
		one := frame(nil, c.bytes)
		f.Add(one)
		all = append(all, one...)
	}
	f.Add(all)
	for _, seed := range dialogues() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newTestMachine(2, 1, func(p *Params) {
			p.MaxHeld, p.MaxUnclaimed, p.MaxBlocks, p.StreamFrom, p.Aggregate = fuzzHeld, fuzzHeld, fuzzBlocks, 4<<10, 2000
		})
		now := time.Duration(0)
		m.Open(now)
		for range 3 {
			_, _ = m.Begin(3000, m.Page(3000), false)
		}
		for number := 0; len(b) >= 2; number++ {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			m.Feed(b[2:2+n], now)
			b = b[2+n:]
			now += 50 * time.Millisecond
			m.Tick(now)
			use(m, number)
			checkOutput(t, m, now)
			if m.rx.pool.held > fuzzHeld+3*pageSize || len(m.rx.blocks) > 2*fuzzBlocks || m.rx.parts > maxParts+maxSpans {
				t.Fatalf("%d bytes of %d blocks in %d parts are held", m.rx.pool.held, len(m.rx.blocks), m.rx.parts)
			}
		}
	})
}

// use reads what has come, and accepts or refuses it.
func use(m *Machine, number int) {
	var buf [4096]byte
	for {
		u, _, ok := m.Arrival()
		if !ok {
			break
		}
		var err error
		for err == nil {
			_, err = m.Read(u, buf[:])
		}
		if number%3 == 0 || m.Accept(u) != nil {
			_ = m.Refuse(u, refusalOf(number))
		}
	}
	for ok := true; ok; {
		_, ok = m.Next()
	}
}

// checkOutput takes what a machine sends, which the other end must be able to parse.
func checkOutput(t *testing.T, m *Machine, now time.Duration) {
	peer := newTestMachine(1, 2, nil)
	for {
		out := m.Output(nil, now)
		if len(out) == 0 {
			return
		}
		peer.Feed(out, now)
		if len(out) > m.params.MTU || peer.Dropped().Malformed > 0 {
			t.Fatalf("put out %x", out)
		}
	}
}

func frame(b, datagram []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(datagram))), datagram...)
}

// dialogues are what a peer sends in exchanges with losses, one after the other.
func dialogues() [][]byte {
	var all [][]byte
	for seed := range uint64(3) {
		var b []byte
		w := newWorld(&testing.T{}, seed, newTestMachine(1, 2, nil), newTestMachine(2, 1, nil), fast(), fast())
		w.a.out.loss, w.b.out.loss = 0.1, 0.1
		w.a.out.log = func(_ time.Duration, datagram []byte) { b = frame(b, datagram) }
		w.a.toSend, w.b.toSend = loads(3, 6000), loads(3, 3000)
		w.run(time.Minute, w.isQuiet)
		all = append(all, b)
	}
	return all
}
