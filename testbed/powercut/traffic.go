package powercut

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
)

const (
	senders   = 6 // of each node
	receivers = 3 // of each node
	// maxOpen bounds what is under way, so that it drains in a short time.
	maxOpen = 1500
	// answerPatience is how long a node may take to answer.
	answerPatience = 20 * time.Second
	pause          = 20 * time.Millisecond

	service    = 42
	headerSize = 12
)

// payload makes the bytes of a message: its number and size, and then bytes that
// follow from both and the seed.
func payload(seed, number uint64, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b, number)
	binary.BigEndian.PutUint32(b[8:], uint32(size))
	r := rand.New(rand.NewPCG(seed, number))
	for i := headerSize; i < size; i += 8 {
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], r.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

// drawSize draws the size of a payload: mostly small, some beside the log of the
// store in a file of their own.
func drawSize(rng *rand.Rand) int {
	switch n := rng.IntN(100); {
	case n < 80:
		return headerSize + rng.IntN(4<<10)
	case n < 97:
		return headerSize + rng.IntN(100<<10)
	default:
		return 200<<10 + rng.IntN(1<<20)
	}
}

// crew is a number of applications at work.
type crew struct {
	stop context.CancelFunc
	work sync.WaitGroup
}

// end stops the crew once what it has begun is answered.
func (c *crew) end() {
	c.stop()
	c.work.Wait()
}

// send lets applications of both nodes send to each other until the crew ends.
func (w *world) send(ctx context.Context) *crew {
	c := &crew{}
	ctx, c.stop = context.WithCancel(ctx)
	for from := range w.nodes {
		for range senders {
			rng := rand.New(rand.NewPCG(w.options.Seed, w.rng.Uint64()))
			c.work.Go(func() { w.sender(ctx, from, rng) })
		}
	}
	return c
}

func (w *world) sender(ctx context.Context, from int, rng *rand.Rand) {
	client := apphttp.Dial(w.nodes[from].Socket())
	defer client.Close()
	to := w.nodes[1-from].id.WithService(service)
	for ctx.Err() == nil {
		if w.ledger.figures().open >= maxOpen {
			sleep(ctx, pause)
			continue
		}
		size := drawSize(rng)
		number := w.ledger.asked(from, size)
		id, err := w.sendOne(ctx, client, app.Outgoing{
			To: to, From: w.nodes[from].id.WithService(service), Custody: rng.IntN(4) > 0, Priority: bundle.PriorityNormal,
			Payload: bytes.NewReader(payload(w.options.Seed, number, size)), Length: int64(size),
		})
		if err != nil {
			w.ledger.refused(number, err)
			sleep(ctx, pause)
			continue
		}
		w.ledger.taken(number, id)
	}
}

// sendOne sends and waits for the answer, even when ctx ends meanwhile.
func (w *world) sendOne(ctx context.Context, client app.Client, out app.Outgoing) (bundle.ID, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	return client.Send(ctx, out)
}

// receive lets applications of both nodes receive until the crew ends.
func (w *world) receive(ctx context.Context) *crew {
	c := &crew{}
	ctx, c.stop = context.WithCancel(ctx)
	for at := range w.nodes {
		for range receivers {
			c.work.Go(func() { w.receiver(ctx, at) })
		}
	}
	return c
}

func (w *world) receiver(ctx context.Context, at int) {
	client := apphttp.Dial(w.nodes[at].Socket())
	defer client.Close()
	for ctx.Err() == nil {
		d, err := client.Receive(ctx, w.nodes[at].id.WithService(service))
		if err != nil {
			sleep(ctx, pause) // its daemon is down
			continue
		}
		w.consume(context.WithoutCancel(ctx), d)
	}
}

// consume checks a delivery and acknowledges it.
func (w *world) consume(ctx context.Context, d *app.Delivery) {
	got, err := io.ReadAll(d.Payload)
	if err := errors.Join(err, d.Payload.Close()); err != nil {
		return // the power went while it was read; it is delivered again
	}
	number, err := w.compare(got)
	if err != nil {
		w.ledger.damaged(d.ID, err.Error())
		return
	}
	w.ledger.handed(number, d.ID)
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	if d.Ack(ctx) == nil {
		w.ledger.settled(number)
	}
}

// compare holds a payload against what was sent and returns its number.
func (w *world) compare(got []byte) (uint64, error) {
	if len(got) < headerSize {
		return 0, fmt.Errorf("%d bytes are no message", len(got))
	}
	number := binary.BigEndian.Uint64(got)
	m, ok := w.ledger.find(number)
	if !ok {
		return 0, fmt.Errorf("nobody sent message %d", number)
	}
	if !bytes.Equal(got, payload(w.options.Seed, number, m.size)) {
		return 0, fmt.Errorf("message %d of %d bytes came as %d other bytes", number, m.size, len(got))
	}
	return number, nil
}
