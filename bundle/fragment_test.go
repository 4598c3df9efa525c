package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand"
	"testing"

	"perigee/bundle/dtntime"
)

// fragmentable is a bundle that may be fragmented, with blocks of all kinds.
func fragmentable(payload []byte) Bundle {
	b := sampleBundle(CRC32C, payload)
	b.Primary.Flags = FlagReportDelivered | 1<<40
	b.RemoveExtension(TypeCustody)
	b.Payload.Flags = 1 << 6
	b.Extensions = append(b.Extensions,
		Block{Type: 99, Number: 77, Flags: BlockReplicate, CRC: CRC16, Data: []byte("everywhere")},
		Block{Type: 98, Number: 12, Data: []byte("first only")},
		PriorityBlock(40, PriorityBulk))
	return b
}

// part is a fragment as a node holds it.
type part struct {
	bndl    Bundle
	payload []byte
}

// sent is what arrives of p elsewhere.
func (p *part) sent(t testing.TB) part {
	t.Helper()
	raw := p.bndl.Append(nil, p.payload)
	b, payload, err := Parse(raw, DefaultLimits())
	if err != nil {
		t.Fatalf("fragment %s: %v", p.bndl.ID(), err)
	}
	if err := b.Check(); err != nil {
		t.Fatalf("fragment %s: %v", p.bndl.ID(), err)
	}
	same(t, &p.bndl, &b)
	return part{b, payload}
}

// cut returns the fragment of p with n bytes from offset on, as it arrives.
func (p *part) cut(t testing.TB, offset, n uint64) part {
	t.Helper()
	b, err := p.bndl.Fragment(offset, n)
	if err != nil {
		t.Fatal(err)
	}
	out := part{b, p.payload[offset : offset+n]}
	return out.sent(t)
}

// scatter cuts p at random until nothing is left to cut or depth is used up, now
// and then with overlaps, and keeps every piece that is needed.
func scatter(t testing.TB, rnd *rand.Rand, p part, depth int) []part {
	n := uint64(len(p.payload))
	if depth == 0 || n < 2 {
		return []part{p}
	}
	var out []part
	for from := uint64(0); from < n; {
		to := from + 1 + uint64(rnd.Int63n(int64(n-from)))
		start := from
		if rnd.Intn(3) == 0 {
			start = uint64(rnd.Int63n(int64(from + 1)))
		}
		out = append(out, scatter(t, rnd, p.cut(t, start, to-start), depth-1)...)
		from = to
	}
	return out
}

// reassemble gathers parts in their order and returns the bytes of the whole.
func reassemble(t testing.TB, parts []part) []byte {
	t.Helper()
	var r Reassembly
	held := map[ID]part{}
	for _, p := range parts {
		material, err := r.Add(p.bndl.ID(), p.bndl.Primary.TotalLength)
		if err != nil {
			t.Fatal(err)
		}
		if material {
			held[p.bndl.ID()] = p
		}
	}
	if !r.Complete() || r.Missing() != 0 {
		t.Fatalf("%d bytes are missing", r.Missing())
	}
	var payload []byte
	plan := r.Plan()
	for _, piece := range plan {
		payload = append(payload, held[piece.Fragment].payload[piece.From:piece.From+piece.Length]...)
	}
	first := held[plan[0].Fragment].bndl
	whole, err := first.Whole()
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Check(); err != nil {
		t.Fatal(err)
	}
	return whole.Append(nil, payload)
}

func TestFragmentsGiveTheBundleBack(t *testing.T) {
	for seed := range int64(300) {
		rnd := rand.New(rand.NewSource(seed))
		payload := make([]byte, 1+rnd.Intn(400))
		rnd.Read(payload)
		origin := part{fragmentable(payload), payload}
		if seed%3 == 0 {
			origin.bndl.Primary.Created.Time = 0
		}
		raw := origin.bndl.Append(nil, payload)
		parts := scatter(t, rnd, origin, 1+rnd.Intn(3))
		if !parts[0].bndl.ID().Fragment {
			parts = append(parts, origin.cut(t, 0, uint64(len(payload))))[1:]
		}
		for range rnd.Intn(4) {
			parts = append(parts, parts[rnd.Intn(len(parts))])
		}
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		if got := reassemble(t, parts); !bytes.Equal(got, raw) {
			t.Fatalf("seed %d: %d fragments give\n%x\nwant\n%x", seed, len(parts), got, raw)
		}
	}
}

func TestFragmentCarriesTheRightBlocks(t *testing.T) {
	payload := []byte("0123456789")
	b := fragmentable(payload)
	numbers := func(b Bundle) string {
		s := ""
		for _, blk := range b.Extensions {
			s += fmt.Sprintf(" %d", blk.Number)
		}
		return s
	}
	for _, test := range []struct {
		offset, n uint64
		created   dtntime.Time
		want      string
	}{
		{0, 4, 1, " 2 3 4 77 12 40"},
		{0, 10, 1, " 2 3 4 77 12 40"},
		{4, 6, 1, " 77 40"},
		{9, 1, 0, " 3 77 40"},
	} {
		b.Primary.Created.Time = test.created
		f, err := b.Fragment(test.offset, test.n)
		if err != nil {
			t.Fatal(err)
		}
		if got := numbers(f); got != test.want {
			t.Errorf("fragment at %d has blocks%s, want%s", test.offset, got, test.want)
		}
		p := f.Primary
		if p.Flags != b.Primary.Flags|FlagFragment || p.FragmentOffset != test.offset || p.TotalLength != 10 || f.Payload.Length != test.n {
			t.Errorf("fragment at %d is %+v", test.offset, f)
		}
	}
	middle, _ := b.Fragment(4, 5)
	last, err := middle.Fragment(3, 2)
	if err != nil || last.ID() != (ID{b.Primary.Source, b.Primary.Created, true, 7, 2}) || last.Primary.TotalLength != 10 {
		t.Errorf("fragment of a fragment is %s of %d, %v", last.ID(), last.Primary.TotalLength, err)
	}
}

func TestFragmentRefuses(t *testing.T) {
	payload := []byte("0123456789")
	b := fragmentable(payload)
	for _, r := range [][2]uint64{{0, 0}, {10, 0}, {0, 11}, {10, 1}, {11, 1}, {5, 6}, {math.MaxUint64, 2}, {2, math.MaxUint64}} {
		if _, err := b.Fragment(r[0], r[1]); err == nil || errors.Is(err, ErrNotFragmentable) {
			t.Errorf("%d bytes from %d on: %v", r[1], r[0], err)
		}
	}
	for name, change := range map[string]func(*Bundle){
		"forbidden": func(b *Bundle) { b.Primary.Flags |= FlagMustNotFragment },
		"custodial": func(b *Bundle) { b.SetExtension(CustodyBlock(0, Custody{SeqID: 1})) },
		"no CRC":    func(b *Bundle) { b.Primary.CRC = CRCNone },
	} {
		b := b.Clone()
		change(&b)
		if _, err := b.Fragment(0, 1); !errors.Is(err, ErrNotFragmentable) || !errors.Is(b.Fragmentable(), ErrNotFragmentable) {
			t.Errorf("%s: %v, want ErrNotFragmentable", name, err)
		}
		if _, err := b.FragmentWithin(0, 1000); !errors.Is(err, ErrNotFragmentable) {
			t.Errorf("%s: %v, want ErrNotFragmentable", name, err)
		}
	}
	if _, err := b.Whole(); err == nil {
		t.Error("a bundle that is no fragment was reassembled")
	}
	if f, _ := b.Fragment(1, 1); true {
		if _, err := f.Whole(); err == nil {
			t.Error("a later fragment was taken for the first")
		}
	}
}

func TestFragmentWithin(t *testing.T) {
	payload := make([]byte, 70_000)
	origin := part{fragmentable(payload), payload}
	for _, size := range []uint64{200, 279, 280, 281, 300, 1400, 65_536, 65_600, 69_999, 1 << 20} {
		var parts []part
		for at := uint64(0); at < uint64(len(payload)); {
			f, err := origin.bndl.FragmentWithin(at, size)
			if err != nil {
				t.Fatal(err)
			}
			if f.EncodedLen() > size || f.Payload.Length == 0 || f.EncodedLen()+4 < size && f.Payload.Length < uint64(len(payload))-at {
				t.Fatalf("fragment of %d bytes in %d, of at most %d", f.Payload.Length, f.EncodedLen(), size)
			}
			parts = append(parts, origin.cut(t, at, f.Payload.Length))
			at += f.Payload.Length
		}
		if !bytes.Equal(reassemble(t, parts), origin.bndl.Append(nil, payload)) {
			t.Fatalf("fragments of at most %d bytes do not give the bundle back", size)
		}
	}
	for size := range uint64(100) {
		if f, err := origin.bndl.FragmentWithin(0, size); err == nil {
			t.Fatalf("fragment of %d bytes within %d", f.EncodedLen(), size)
		}
	}
	if _, err := origin.bndl.FragmentWithin(70_000, 1400); err == nil {
		t.Error("a fragment behind the end")
	}
}

func TestFragmentsOfAStream(t *testing.T) {
	// The payload is only ever seen as a stream.
	const size = 200_000
	b := fragmentable(nil)
	b.Payload.Length = size
	source := io.NewSectionReader(readerAt('x'), 0, size)
	var parts []part
	for at := uint64(0); at < size; {
		f, err := b.FragmentWithin(at, 30_000)
		if err != nil {
			t.Fatal(err)
		}
		var raw bytes.Buffer
		if _, err := f.Encode(&raw, io.NewSectionReader(source, int64(at), int64(f.Payload.Length))); err != nil {
			t.Fatal(err)
		}
		got, payload, err := Parse(raw.Bytes(), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{got, payload})
		at += f.Payload.Length
	}
	want := b.Append(nil, bytes.Repeat([]byte("x"), size))
	if !bytes.Equal(reassemble(t, parts), want) {
		t.Error("fragments do not give the bundle back")
	}
}

type readerAt byte

func (c readerAt) ReadAt(p []byte, _ int64) (int, error) { return repeat(c).Read(p) }

// FuzzFragment cuts what can be cut of any bundle at any place.
func FuzzFragment(f *testing.F) {
	for _, s := range samples() {
		if s.name != "long" {
			f.Add(s.encode(), uint64(3), uint64(2))
		}
	}
	payload := []byte("Hello, DTN")
	b := fragmentable(payload)
	f.Add(b.Append(nil, payload), uint64(3), uint64(5))
	f.Fuzz(func(t *testing.T, raw []byte, first, second uint64) {
		b, payload, err := Parse(raw, DefaultLimits())
		if err != nil || b.Check() != nil {
			return
		}
		origin := part{b, payload}
		n := uint64(len(payload))
		if b.Fragmentable() != nil || first == 0 || first >= n {
			if _, err := b.Fragment(first, n-first); err == nil && (first >= n || b.Fragmentable() != nil) {
				t.Fatalf("%d bytes from %d on were cut of %x", n-first, first, raw)
			}
			return
		}
		second %= n
		parts := []part{origin.cut(t, second, n-second), origin.cut(t, first, n-first), origin.cut(t, 0, first)}
		if offset := b.Primary.FragmentOffset; b.Primary.Flags&FlagFragment != 0 {
			for _, p := range parts {
				if p.bndl.Primary.TotalLength != b.Primary.TotalLength || p.bndl.Primary.FragmentOffset < offset {
					t.Fatalf("fragment of %x is %+v", raw, p.bndl)
				}
			}
			return
		}
		whole, _, err := Parse(reassemble(t, parts), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		b.Payload.open = false
		same(t, &b, &whole)
	})
}
