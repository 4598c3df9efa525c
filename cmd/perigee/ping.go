package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// serviceEcho is the service of a node that sends back what it gets.
const serviceEcho = 7

// pingBytes is the payload of a ping: its number and zeros.
const pingBytes = 56

type pingOptions struct {
	to       bundle.EID
	count    int
	interval time.Duration
	timeout  time.Duration
	priority bundle.Priority
}

func newPing(e *env) *cobra.Command {
	var opts pingOptions
	cmd := &cobra.Command{
		Use:   "ping EID",
		Short: "Send bundles to a node's echo service and time the replies",
		Long: `Ping sends small bundles to an endpoint that sends them back, and tells how long
each took. For a node ID, such as ipn:1.0 or dtn://ground/, that endpoint is the
echo service of the node, ipn:1.7 or dtn://ground/7. Replies come to an endpoint of
this node that is made for the occasion. Across links that come and go a reply may
take a pass or more: choose --timeout by that.

The exit code is 1 when no reply came.`,
		Example: `  perigee ping ipn:1.0
  perigee ping ipn:1.0 -c 10 --interval 200ms
  perigee ping dtn://ground/ --timeout 3h -o json`,
		Args: exactArgs("EID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if opts.to, err = bundle.ParseEID(args[0]); err != nil {
				return usagef("ping: %w", err)
			}
			return e.withDaemon(func(client app.Client) error { return runPing(cmd.Context(), e, client, opts) })
		},
	}
	f := cmd.Flags()
	f.IntVarP(&opts.count, "count", "c", 4, "`number` of bundles to send")
	f.DurationVar(&opts.interval, "interval", time.Second, "time from one bundle to the next")
	f.DurationVar(&opts.timeout, "timeout", time.Minute, "how long to wait for replies after the last bundle")
	f.TextVar(&opts.priority, "priority", bundle.PriorityExpedited, "`class` of service: bulk, normal or expedited")
	return cmd
}

// pingView is the outcome of a ping. Round-trip times are in milliseconds.
type pingView struct {
	To       bundle.EID  `json:"to"`
	From     bundle.EID  `json:"from"`
	Sent     int         `json:"sent"`
	Received int         `json:"received"`
	Replies  []replyView `json:"replies"`
	Min      float64     `json:"min_ms"`
	Mean     float64     `json:"mean_ms"`
	Max      float64     `json:"max_ms"`
}

type replyView struct {
	Number int     `json:"number"`
	Millis float64 `json:"ms"`
}

func runPing(ctx context.Context, e *env, client app.Client, opts pingOptions) error {
	switch {
	case opts.count < 1 || opts.count > 1_000_000:
		return usagef("ping: --count %d is not from 1 to 1000000", opts.count)
	case opts.interval < 0 || opts.timeout <= 0:
		return usagef("ping: --interval must not be negative and --timeout must be above zero")
	case opts.to.IsNull():
		return usagef("ping: the null endpoint sends nothing back; name a node")
	}
	if opts.to == opts.to.Node() {
		opts.to = opts.to.WithService(serviceEcho)
	}
	status, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	p := &pinger{env: e, client: client, opts: opts, starts: make([]time.Time, opts.count), all: make(chan struct{})}
	p.view = pingView{To: opts.to, From: status.Node.WithService(ephemeralService()), Replies: []replyView{}}
	if err := p.run(ctx); err != nil {
		return fmt.Errorf("ping %s: %w", opts.to, err)
	}
	return p.finish()
}

// ephemeralService returns a service number that hardly anybody else uses.
func ephemeralService() uint64 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return 1<<31 | uint64(binary.BigEndian.Uint32(b[:]))
}

// pinger holds one run of ping. Only the receiver writes view.Replies and only the
// sender view.Sent and starts; an entry of starts is written before its bundle is
// sent, and so before its reply comes.
type pinger struct {
	env    *env
	client app.Client
	opts   pingOptions
	view   pingView
	starts []time.Time
	all    chan struct{} // closed when every reply has come
}

// run sends all pings and takes replies until all have come or time is over.
func (p *pinger) run(ctx context.Context) error {
	receiveCtx, stopReceive := context.WithCancel(ctx)
	defer stopReceive()
	group, groupCtx := errgroup.WithContext(receiveCtx)
	group.Go(func() error {
		err := p.receive(groupCtx)
		if groupCtx.Err() != nil && ctx.Err() == nil {
			return nil // the wait is over
		}
		return err
	})
	group.Go(func() error {
		if err := p.send(groupCtx); err != nil {
			return err
		}
		defer stopReceive()
		return pause(groupCtx, p.opts.timeout, p.all)
	})
	err := group.Wait()
	if ctx.Err() != nil {
		return nil // interrupted: what has come is shown
	}
	return err
}

func (p *pinger) send(ctx context.Context) error {
	for i := range p.opts.count {
		if i > 0 {
			if err := pause(ctx, p.opts.interval, nil); err != nil {
				return err
			}
		}
		p.starts[i] = time.Now()
		payload := make([]byte, pingBytes)
		binary.BigEndian.PutUint64(payload, uint64(i))
		_, err := p.client.Send(ctx, app.Outgoing{
			To: p.opts.to, From: p.view.From, Priority: p.opts.priority,
			Lifetime: dtntime.Of(p.opts.timeout + p.opts.interval*time.Duration(p.opts.count-i)),
			Payload:  bytes.NewReader(payload), Length: pingBytes,
		})
		if err != nil {
			return err
		}
		p.view.Sent++
	}
	return nil
}

func (p *pinger) receive(ctx context.Context) error {
	seen := make([]bool, p.opts.count)
	for p.view.Received < p.opts.count {
		d, err := p.client.Receive(ctx, p.view.From)
		if err != nil {
			return err
		}
		payload, err := io.ReadAll(io.LimitReader(d.Payload, pingBytes+1))
		if err := errors.Join(err, d.Payload.Close(), d.Ack(ctx)); err != nil {
			return err
		}
		if len(payload) != pingBytes {
			continue
		}
		n := binary.BigEndian.Uint64(payload)
		if n >= uint64(len(seen)) || seen[n] {
			continue
		}
		seen[n] = true
		p.reply(d.Source, int(n))
	}
	close(p.all)
	return nil
}

func (p *pinger) reply(from bundle.EID, n int) {
	v := &p.view
	ms := float64(time.Since(p.starts[n]).Microseconds()) / 1000
	v.Received++
	v.Replies = append(v.Replies, replyView{n + 1, ms})
	if v.Received == 1 || ms < v.Min {
		v.Min = ms
	}
	v.Max = max(v.Max, ms)
	v.Mean += (ms - v.Mean) / float64(v.Received)
	if p.env.output == formatTable {
		fmt.Fprintf(p.env.out, "reply from %s: number %d, %.1f ms\n", from, n+1, ms)
	}
}

func (p *pinger) finish() error {
	v := p.view
	err := p.env.print(v, func(w io.Writer) {
		fmt.Fprintf(w, "%d sent, %d replies", v.Sent, v.Received)
		if v.Received > 0 {
			fmt.Fprintf(w, ", %.1f/%.1f/%.1f ms (least/mean/most)", v.Min, v.Mean, v.Max)
		}
		fmt.Fprintln(w)
	})
	if err == nil && v.Received == 0 {
		err = fmt.Errorf("ping %s: no reply within %s; is there a contact? see perigee status", v.To, p.opts.timeout)
	}
	return err
}

// pause waits for d, or until done is closed.
func pause(ctx context.Context, d time.Duration, done <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
