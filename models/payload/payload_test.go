package payload

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"perigee/bundle/dtntime"
	"perigee/models"
)

const when = dtntime.Time(846_000_000_123)

func telemetry() *Telemetry {
	return &Telemetry{
		Time: when, Model: models.HashBytes([]byte("m")), ModelVersion: 3, Taken: 1000, Hard: 120, Sent: 96,
		TakenBytes: 1 << 33, SentBytes: 1 << 24, StorageUsed: 5, StorageFree: math.MaxUint64,
		Battery: 87.25, Temperature: -12.3, PendingBatches: 2, Probation: 7,
	}
}

func sampleBatch() *SampleBatch {
	first, second := NewSample([]byte("\xff\xd8 first \xff\xd9")), NewSample([]byte("second"))
	first.Name, first.Taken, first.Model = "pass-7/0001", when, models.HashBytes([]byte("m"))
	first.Filter, first.Value, first.Worth = "Threshold", 0.43, 570
	first.Found = []models.Detection{
		{Class: 8, Score: 0.51, Box: models.Box{X: 0.5, Y: 0.25, W: 0.1, H: 0.07}},
		{Class: 4, Score: 0.35, Box: models.Box{X: -0.01, Y: 1, W: 0.1, H: 2}},
	}
	second.Found = []models.Detection{}
	return &SampleBatch{Batch: 41, Samples: []Sample{first, second}}
}

func modelPart() *ModelPart {
	parts, err := Split(ModelPart{
		Update: 7, Version: 4, Type: UpdateDelta, Step: 1, Steps: 3, Draft: true, Encoding: "int4-rank1", Base: models.HashBytes([]byte("b")),
		Result: models.HashBytes([]byte("r")), Backbone: models.HashBytes([]byte("bb")),
		Golden: Golden{MinF1: 0.8, Threshold: 0.3, MatchIoU: 0.35},
	}, []byte("the whole update, cut in parts"), 12)
	if err != nil {
		panic(err)
	}
	return &parts[1]
}

func receipt() *Receipt {
	return &Receipt{
		Update: 7, Version: 4, Status: StatusRolledBack, Reason: "F1 0.61 on the golden set, want 0.80",
		Active: models.HashBytes([]byte("b")), ActiveVersion: 3, Time: when,
	}
}

func verdictBatch() *VerdictBatch {
	return &VerdictBatch{Time: when, Source: "label", Verdicts: []Verdict{
		{Sample: models.HashBytes([]byte("s")), Labels: []models.Truth{{Class: 8, Box: models.Box{X: 0.5, Y: 0.5, W: 0.1, H: 0.1}}}},
		{Sample: models.HashBytes([]byte("t")), Labels: []models.Truth{}},
	}}
}

func preview() *Preview {
	p := &Preview{Sample: sampleBatch().Samples[0], Bytes: 120_000, Sketch: []float32{0.5, -3.25, 1e-7}, Thumbnail: []byte("\xff\xd8 small \xff\xd9")}
	p.Sample.Picture = nil
	return p
}

func request() *Request {
	return &Request{Time: when, Samples: []models.Hash{models.HashBytes([]byte("s")), models.HashBytes([]byte("t"))}}
}

func gone() *Gone { return &Gone{Time: when, Samples: request().Samples[:1]} }

func lesson() *Lesson {
	l := &Lesson{
		Update: 9, Version: 5, Base: models.HashBytes([]byte("b")), Part: 1, Parts: 2, Labels: []byte("packed"),
		Course: Course{Epochs: 30, Batch: 4, Rank: 2, Rate: 0.003, Seed: 1, HeldOut: 0.2, MinGain: 0.1, MinF1: 0.5},
	}
	if err := l.Sign(lessonKey()); err != nil {
		panic(err)
	}
	return l
}

func lessonKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
}

func learned() *Learned {
	return &Learned{
		Update: 9, Version: 5, Base: models.HashBytes([]byte("b")), Result: models.HashBytes([]byte("r")), Trained: 96, Judged: 24, Missing: 1,
		OldF1: 0.3, NewF1: 0.9, Threshold: 0.25, Spent: 600_000, Time: when, Delta: []byte("a delta"),
	}
}

func messages() []Message {
	return []Message{
		telemetry(), sampleBatch(), modelPart(), receipt(), verdictBatch(), lesson(), learned(), preview(), request(), gone(),
	}
}

func encoded(t testing.TB, m Message) []byte {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func same(a, b Message) string {
	return cmp.Diff(a, b, cmpopts.IgnoreUnexported(Telemetry{}, ModelPart{}, Receipt{}, Golden{}, Lesson{}, Course{}, Learned{}), cmpopts.EquateEmpty())
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range messages() {
		t.Run(m.Kind().String(), func(t *testing.T) {
			data := encoded(t, m)
			if data[1] != Version || Kind(data[2]) != m.Kind() {
				t.Fatalf("begins with % x, want version and kind", data[:3])
			}
			got, err := Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := same(m, got); diff != "" {
				t.Fatal(diff)
			}
			if again := encoded(t, got); !bytes.Equal(again, data) {
				t.Fatal("encoded again, other bytes")
			}
		})
	}
}

// TestDecodeRefusesDamage cuts each message everywhere, adds to it, and gives it
// to the decoders of the other kinds.
func TestDecodeRefusesDamage(t *testing.T) {
	for _, m := range messages() {
		data := encoded(t, m)
		for n := range data {
			if got, err := Decode(data[:n]); !errors.Is(err, ErrMalformed) || got != nil {
				t.Fatalf("%v cut at %d of %d: %v, %v; want ErrMalformed", m.Kind(), n, len(data), got, err)
			}
		}
		if _, err := Decode(append(bytes.Clone(data), 0)); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v and a byte more: error %v", m.Kind(), err)
		}
		for kind := Kind(0); kind < 24; kind++ {
			other := bytes.Clone(data)
			other[2] = byte(kind)
			if _, err := Decode(other); kind != m.Kind() && !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v as %v: error %v", m.Kind(), kind, err)
			}
		}
		newer := bytes.Clone(data)
		newer[1] = Version + 1
		if _, err := Decode(newer); !errors.Is(err, ErrVersion) || !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v of another version: error %v", m.Kind(), err)
		}
	}
}

func TestDecodeRefusesLooseEncoding(t *testing.T) {
	data := encoded(t, receipt())
	// 83 01 04 88 07 ...: write the update's number in two bytes instead of one.
	loose := append(append(bytes.Clone(data[:4]), 0x18), data[4:]...)
	if _, err := DecodeReceipt(loose); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "deterministic") {
		t.Fatalf("error %v, want one about deterministic encoding", err)
	}
	indefinite := append(append(bytes.Clone(data[:3]), 0x9f), append(bytes.Clone(data[4:]), 0xff)...)
	if _, err := DecodeReceipt(indefinite); !errors.Is(err, ErrMalformed) {
		t.Fatalf("error %v, want ErrMalformed", err)
	}
	// An array that announces 2^32-1 elements must not be allocated.
	if _, err := DecodeSampleBatch([]byte{0x83, 1, 2, 0x82, 1, 0x9a, 0xff, 0xff, 0xff, 0xff}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("error %v, want ErrMalformed", err)
	}
}

func TestLimits(t *testing.T) {
	nan := float32(math.NaN())
	batch := func(change func(*SampleBatch)) Message { b := sampleBatch(); change(b); return b }
	part := func(change func(*ModelPart)) Message { p := modelPart(); change(p); return p }
	early := func(change func(*Preview)) Message { p := preview(); change(p); return p }
	report := func(change func(*Receipt)) Message { r := receipt(); change(r); return r }
	pictures := func(count, size int) Message {
		b := &SampleBatch{}
		for range count {
			b.Samples = append(b.Samples, NewSample(make([]byte, size)))
		}
		return b
	}
	labels := make([]models.Truth, MaxDetections)
	verdicts := &VerdictBatch{}
	for range MaxVerdicts {
		verdicts.Verdicts = append(verdicts.Verdicts, Verdict{Labels: labels})
	}
	for name, c := range map[string]struct {
		message Message
		want    error
	}{
		"largest picture":     {pictures(1, MaxPicture), nil},
		"picture too large":   {pictures(1, MaxPicture+1), ErrLimit},
		"largest batch":       {pictures(4, MaxPicture), nil},
		"batch too large":     {pictures(5, MaxPicture), ErrLimit},
		"most samples":        {pictures(MaxSamples, 8), nil},
		"too many samples":    {pictures(MaxSamples+1, 8), ErrLimit},
		"wrong picture":       {batch(func(b *SampleBatch) { b.Samples[0].Picture = []byte("other") }), ErrMalformed},
		"name too long":       {batch(func(b *SampleBatch) { b.Samples[0].Name = strings.Repeat("n", MaxName+1) }), ErrLimit},
		"name not text":       {batch(func(b *SampleBatch) { b.Samples[0].Name = "\xff" }), ErrMalformed},
		"worth too much":      {batch(func(b *SampleBatch) { b.Samples[0].Worth = MaxWorth + 1 }), ErrLimit},
		"negative class":      {batch(func(b *SampleBatch) { b.Samples[0].Found[0].Class = -1 }), ErrMalformed},
		"score no number":     {batch(func(b *SampleBatch) { b.Samples[0].Found[0].Score = nan }), ErrMalformed},
		"box no number":       {batch(func(b *SampleBatch) { b.Samples[0].Found[0].Box.W = nan }), ErrMalformed},
		"too many found":      {batch(func(b *SampleBatch) { b.Samples[0].Found = make([]models.Detection, MaxDetections+1) }), ErrLimit},
		"part changed":        {part(func(p *ModelPart) { p.Data = []byte("not the same") }), ErrMalformed},
		"part outside":        {part(func(p *ModelPart) { p.Offset = p.Size - 1 }), ErrMalformed},
		"part offset wraps":   {part(func(p *ModelPart) { p.Offset = math.MaxUint64 }), ErrMalformed},
		"part beyond count":   {part(func(p *ModelPart) { p.Index = p.Count }), ErrMalformed},
		"first part late":     {part(func(p *ModelPart) { p.Index = 0 }), ErrMalformed},
		"last part early":     {part(func(p *ModelPart) { p.Count = 2 }), ErrMalformed},
		"part empty":          {part(func(p *ModelPart) { p.Data = nil }), ErrMalformed},
		"update too large":    {part(func(p *ModelPart) { p.Size = MaxUpdate + 1 }), ErrLimit},
		"update of no kind":   {part(func(p *ModelPart) { p.Type = 0 }), ErrMalformed},
		"step beyond steps":   {part(func(p *ModelPart) { p.Step = p.Steps }), ErrMalformed},
		"no steps":            {part(func(p *ModelPart) { p.Step, p.Steps = 0, 0 }), ErrMalformed},
		"too many steps":      {part(func(p *ModelPart) { p.Steps = MaxSteps + 1 }), ErrMalformed},
		"model in steps":      {part(func(p *ModelPart) { p.Type = UpdateModel }), ErrMalformed},
		"last step a draft":   {part(func(p *ModelPart) { p.Step = 2 }), ErrMalformed},
		"golden no number":    {part(func(p *ModelPart) { p.Golden.MinF1 = nan }), ErrMalformed},
		"status unknown":      {report(func(r *Receipt) { r.Status = 6 }), ErrMalformed},
		"active step":         {report(func(r *Receipt) { r.Status, r.Step = StatusActive, 2 }), nil},
		"step received":       {report(func(r *Receipt) { r.Status, r.Step = StatusReceived, 2 }), nil},
		"step refused":        {report(func(r *Receipt) { r.Status, r.Step = StatusRefused, 2 }), ErrMalformed},
		"reason too long":     {report(func(r *Receipt) { r.Reason = strings.Repeat("r", MaxReason+1) }), ErrLimit},
		"battery no number":   {&Telemetry{Battery: nan}, ErrMalformed},
		"source too long":     {&VerdictBatch{Source: strings.Repeat("s", MaxName+1)}, ErrLimit},
		"preview and picture": {early(func(p *Preview) { p.Sample.Picture = []byte("p") }), ErrMalformed},
		"preview of nothing":  {early(func(p *Preview) { p.Bytes = 0 }), ErrLimit},
		"sketch no number":    {early(func(p *Preview) { p.Sketch[1] = nan }), ErrMalformed},
		"sketch too long":     {early(func(p *Preview) { p.Sketch = make([]float32, MaxSketch+1) }), ErrLimit},
		"thumbnail too large": {early(func(p *Preview) { p.Thumbnail = make([]byte, MaxThumbnail+1) }), ErrLimit},
		"most asked for":      {&Request{Samples: make([]models.Hash, MaxAsked)}, nil},
		"too many asked for":  {&Request{Samples: make([]models.Hash, MaxAsked+1)}, ErrLimit},
		"too many gone":       {&Gone{Samples: make([]models.Hash, MaxAsked+1)}, ErrLimit},
		"verdicts too large":  {verdicts, ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := c.message.Encode()
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("encode: error %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			if _, err := Decode(data); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSplitCoversTheUpdate(t *testing.T) {
	whole := bytes.Repeat([]byte("0123456789"), 100)
	for _, size := range []int{1, 7, 999, 1000, 1001, MaxPart} {
		parts, err := Split(ModelPart{Type: UpdateModel}, whole, size)
		if err != nil {
			t.Fatal(err)
		}
		var joined []byte
		for i := range parts {
			data := encoded(t, &parts[i])
			p, err := DecodeModelPart(data)
			if err != nil {
				t.Fatal(err)
			}
			if p.Offset != uint64(len(joined)) || p.Hash != models.HashBytes(whole) || int(p.Count) != len(parts) {
				t.Fatalf("part %d of size %d: %+v", i, size, p)
			}
			joined = append(joined, p.Data...)
		}
		if !bytes.Equal(joined, whole) {
			t.Fatalf("parts of %d do not join to the whole", size)
		}
	}
	for _, c := range []struct {
		update []byte
		size   int
	}{{nil, 10}, {whole, 0}, {whole, MaxPart + 1}, {make([]byte, MaxParts+1), 1}} {
		if _, err := Split(ModelPart{Type: UpdateModel}, c.update, c.size); !errors.Is(err, ErrLimit) {
			t.Fatalf("%d bytes in parts of %d: error %v, want ErrLimit", len(c.update), c.size, err)
		}
	}
}

// TestSchemaNamesEveryMessage keeps docs/payloads.cddl in step with the kinds.
func TestSchemaNamesEveryMessage(t *testing.T) {
	schema, err := os.ReadFile(filepath.Join("..", "..", "docs", "payloads.cddl"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(string(schema)), " ")
	for _, m := range messages() {
		rule := fmt.Sprintf("%s = [version, kind: %d,", strings.ReplaceAll(m.Kind().String(), " ", "-"), m.Kind())
		if !strings.Contains(words, rule) {
			t.Errorf("no rule %q", rule)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		f.Add(encoded(f, m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
			return
		}
		if again := encoded(t, m); !bytes.Equal(again, data) {
			t.Fatalf("decoded %x, encoded %x", data, again)
		}
	})
}

func BenchmarkDecodeSampleBatch(b *testing.B) {
	batch := &SampleBatch{}
	for i := range 40 {
		batch.Samples = append(batch.Samples, NewSample(bytes.Repeat([]byte{byte(i)}, 200<<10)))
	}
	data := encoded(b, batch)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeSampleBatch(data); err != nil {
			b.Fatal(err)
		}
	}
}
