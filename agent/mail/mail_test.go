package mail

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"perigee/bundle"
	"perigee/bundle/app"
)

// node gives what its turns say, one a call, and notes what becomes of it.
type node struct {
	app.Client
	turns  []turn
	events []string // with the seconds since the start
	start  time.Time
}

type turn struct {
	err     error     // of the call
	payload io.Reader // of the delivery
	settle  error     // of its acknowledgement or release
}

func (n *node) note(what string) {
	n.events = append(n.events, time.Since(n.start).String()+" "+what)
}

func (n *node) turn() turn {
	t := n.turns[0]
	n.turns = n.turns[1:]
	return t
}

func (n *node) Status(context.Context) (app.Status, error) {
	n.note("status")
	return app.Status{Node: bundle.IPN(2, 0)}, n.turn().err
}

func (n *node) Receive(ctx context.Context, _ bundle.EID) (*app.Delivery, error) {
	if len(n.turns) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	t := n.turn()
	if t.err != nil {
		n.note("receive")
		return nil, t.err
	}
	settle := func(how string) func(context.Context) error {
		return func(context.Context) error {
			n.note(how)
			return t.settle
		}
	}
	return &app.Delivery{
		Source: bundle.IPN(1, 7), Payload: io.NopCloser(t.payload), Ack: settle("ack"), Release: settle("release"),
	}, nil
}

var errDisk = errors.New("disk is broken")

func text(s string) io.Reader { return strings.NewReader(s) }

func TestInbox(t *testing.T) {
	for _, test := range []struct {
		name  string
		turns []turn
		want  []string
		err   error // that ends it
	}{
		{"kept", []turn{{payload: text("a")}, {payload: text("b")}}, []string{"0s a", "0s ack", "0s b", "0s ack"}, context.DeadlineExceeded},
		{
			"waits longer each time, and again from the first on",
			[]turn{
				{err: app.ErrTryAgain},
				{err: app.ErrUnreachable},
				{err: app.ErrTryAgain},
				{err: app.ErrTryAgain},
				{payload: text("a")},
				{err: app.ErrTryAgain},
				{payload: text("b")},
			},
			[]string{"0s receive", "1s receive", "3s receive", "7s receive", "12s a", "12s ack", "12s receive", "13s b", "13s ack"},
			context.DeadlineExceeded,
		},
		{"closed", []turn{{err: app.ErrClosed}}, []string{"0s receive"}, app.ErrClosed},
		{
			"not readable",
			[]turn{{payload: iotest.ErrReader(io.ErrUnexpectedEOF)}, {payload: text("a")}},
			[]string{"0s release", "1s a", "1s ack"},
			context.DeadlineExceeded,
		},
		{"too large", []turn{{payload: text("123456789")}, {payload: text("12345678")}}, []string{"0s ack", "0s 12345678", "0s ack"}, context.DeadlineExceeded},
		{"useless", []turn{{payload: text("useless")}, {payload: text("a")}}, []string{"0s useless", "0s ack", "0s a", "0s ack"}, context.DeadlineExceeded},
		{"not kept", []turn{{payload: text("break")}}, []string{"0s break"}, errDisk},
		{"not settled", []turn{{payload: text("a"), settle: app.ErrNotFound}, {payload: text("b")}}, []string{"0s a", "0s ack", "0s b", "0s ack"}, context.DeadlineExceeded},
		{"closed before it is settled", []turn{{payload: text("a"), settle: app.ErrClosed}}, []string{"0s a", "0s ack"}, app.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				n := &node{turns: test.turns, start: time.Now()}
				in := Inbox{
					Client: n, Endpoint: bundle.IPN(2, 12), Limit: 8, Log: slog.New(slog.DiscardHandler),
					Wait: Backoff{First: time.Second, Most: 5 * time.Second},
				}
				var err error
				for err == nil {
					err = in.Next(ctx, func(from bundle.EID, data []byte) error {
						n.note(string(data))
						if from != bundle.IPN(1, 0) {
							t.Errorf("from %v", from)
						}
						return map[string]error{"useless": ErrUseless, "break": errDisk}[string(data)]
					})
				}
				if !errors.Is(err, test.err) {
					t.Errorf("ended with %v, want %v", err, test.err)
				}
				if d := cmp.Diff(test.want, n.events); d != "" {
					t.Errorf("events (-want +got):\n%s", d)
				}
			})
		})
	}
}

func TestFindNode(t *testing.T) {
	for _, test := range []struct {
		name  string
		turns []turn
		want  []string
		node  bundle.EID
		err   error
	}{
		{"in the end", []turn{{err: app.ErrUnreachable}, {err: app.ErrUnreachable}, {}}, []string{"0s status", "1s status", "3s status"}, bundle.IPN(2, 0), nil},
		{"never", slices.Repeat([]turn{{err: app.ErrUnreachable}}, 3), []string{"0s status", "1s status", "3s status"}, bundle.EID{}, context.DeadlineExceeded},
		{"closed", []turn{{err: app.ErrClosed}}, []string{"0s status"}, bundle.EID{}, app.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				n := &node{turns: test.turns, start: time.Now()}
				got, err := FindNode(ctx, n, Backoff{First: time.Second, Most: time.Minute}, slog.New(slog.DiscardHandler))
				if got != test.node || !errors.Is(err, test.err) {
					t.Errorf("node %v, %v; want %v, %v", got, err, test.node, test.err)
				}
				if d := cmp.Diff(test.want, n.events); d != "" {
					t.Errorf("events (-want +got):\n%s", d)
				}
			})
		})
	}
}

func TestBackoffTakesUpToHalfOff(t *testing.T) {
	b := Backoff{First: time.Second, Most: 5 * time.Second, Rand: rand.New(rand.NewPCG(1, 2))}
	seen := map[time.Duration]bool{}
	for range 100 {
		for _, full := range []time.Duration{1, 2, 4, 5, 5} {
			got := b.next()
			seen[got] = true
			if full *= time.Second; got < full/2 || got > full {
				t.Fatalf("wait of %v, want %v to %v", got, full/2, full)
			}
		}
		b.Reset()
	}
	if len(seen) < 400 {
		t.Errorf("%d different waits of 500", len(seen))
	}
}
