package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/core"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Defaults of bundles made here.
const (
	defaultLifetime = dtntime.Day
	hopLimit        = 64
	// spoolMemory is how much of a payload of unknown length is held in memory;
	// longer ones go through a file.
	spoolMemory = 256 << 10
)

// errLength is a payload that is not as long as was said.
var errLength = errors.New("payload is not as long as announced")

// Send implements app.Client.
func (c *client) Send(ctx context.Context, out app.Outgoing) (bundle.ID, error) {
	select {
	case <-c.closed:
		return bundle.ID{}, app.ErrClosed
	default:
	}
	n := c.node
	if err := n.checkOutgoing(&out); err != nil {
		return bundle.ID{}, err
	}
	payload, length := out.Payload, out.Length
	if length < 0 {
		spooled, size, remove, err := n.spool(ctx, payload)
		if err != nil {
			return bundle.ID{}, err
		}
		defer remove()
		payload, length = spooled, size
	}
	b, err := n.compose(&out, length)
	if err != nil {
		return bundle.ID{}, err
	}
	staged, err := n.cfg.Store.Stage(int64(b.EncodedLen()))
	if err != nil {
		return bundle.ID{}, translate(fmt.Errorf("making room for a bundle of %d bytes: %w", b.EncodedLen(), err))
	}
	if err := fill(ctx, b, staged, payload); err != nil {
		staged.Discard()
		return bundle.ID{}, translate(fmt.Errorf("storing the payload: %w", err))
	}
	arrival := core.Arrival{
		Bundle: b, HeaderLen: int64(b.HeaderLen()), Size: staged.Size(), Custody: out.Custody, Priority: out.Priority, Reporting: out.Compressed,
	}
	if err := c.ask(ctx, arrival, staged); err != nil {
		return bundle.ID{}, fmt.Errorf("sending to %s: %w", out.To, err)
	}
	return b.ID(), nil
}

// checkOutgoing fills in defaults and refuses what no node may send.
func (n *Node) checkOutgoing(out *app.Outgoing) error {
	if out.From.IsNull() {
		out.From = n.cfg.Node
	}
	if out.Lifetime == 0 {
		out.Lifetime = defaultLifetime
	}
	switch {
	case out.To.IsNull():
		return fmt.Errorf("%w: a bundle needs a destination", app.ErrRejected)
	case out.From.Node() != n.cfg.Node:
		return fmt.Errorf("%w: source %s is not an endpoint of this node, which is %s", app.ErrRejected, out.From, n.cfg.Node)
	case out.Reports&^bundle.ReportFlags != 0:
		return fmt.Errorf("%w: report flags %#x are none", app.ErrRejected, out.Reports)
	case out.Compressed&^bundle.ReportingRequests != 0:
		return fmt.Errorf("%w: compressed reports %#x are none", app.ErrRejected, uint64(out.Compressed))
	case out.Compressed != 0 && out.ReportTo.IsNull():
		return fmt.Errorf("%w: compressed reports need an endpoint to go to", app.ErrRejected)
	case out.Custody && !out.To.IsSingleton():
		return fmt.Errorf("%w: custody needs one destination, and %s may be several", app.ErrRejected, out.To)
	case out.Custody && out.Critical:
		return fmt.Errorf("%w: a critical bundle goes over every neighbour, so it cannot be under custody", app.ErrRejected)
	case n.cfg.MaxBundle > 0 && out.Length > n.cfg.MaxBundle:
		return fmt.Errorf("%w: payload of %d bytes is larger than this node's limit of %d", app.ErrRejected, out.Length, n.cfg.MaxBundle)
	}
	return nil
}

// compose makes the header of a new bundle. Under custody, and with compressed reports,
// it must not be fragmented; the blocks for them come with each transmission.
func (n *Node) compose(out *app.Outgoing, length int64) (*bundle.Bundle, error) {
	b := &bundle.Bundle{
		Primary: bundle.Primary{
			Flags: out.Reports, CRC: bundle.CRC32C,
			Destination: out.To, Source: out.From, ReportTo: out.ReportTo, Lifetime: out.Lifetime,
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(length)},
	}
	if out.Custody || out.Compressed != 0 {
		b.Primary.Flags |= bundle.FlagMustNotFragment
	}
	b.SetExtension(bundle.HopCountBlock(0, bundle.HopCount{Limit: hopLimit}))
	class := bundle.Class{Priority: out.Priority, Value: out.Value, Critical: out.Critical}
	if class != (bundle.Class{Priority: bundle.PriorityNormal}) {
		b.SetExtension(bundle.ClassBlock(0, class))
	}
	if n.cfg.NoClock {
		b.SetExtension(bundle.BundleAgeBlock(0, 0))
	}
	for {
		b.Primary.Created = n.stamps.next(n.now())
		known, err := n.cfg.Store.Find(b.ID())
		if err != nil {
			return nil, fmt.Errorf("looking up %s: %w", b.ID(), err)
		}
		// After the clock was set back an old ID may come up again.
		if known.Live == nil && known.Gone == nil {
			return b, nil
		}
	}
}

// fill writes a bundle into the store. The payload must end where it was said to.
func fill(ctx context.Context, b *bundle.Bundle, staged store.Staged, payload io.Reader) error {
	payload = &cancellable{ctx, payload}
	if err := encode(b, staged, payload); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %w: it ends before %d bytes: %w", app.ErrRejected, errLength, b.Payload.Length, err)
		}
		return err
	}
	var more [1]byte
	switch k, err := io.ReadFull(payload, more[:]); {
	case k > 0:
		return fmt.Errorf("%w: %w: it goes on after %d bytes", app.ErrRejected, errLength, b.Payload.Length)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// encode writes a bundle into the store, into its memory where that has room.
func encode(b *bundle.Bundle, staged store.Staged, payload io.Reader) error {
	if direct, ok := staged.(store.Buffered); ok {
		if raw := direct.Buffer(int64(b.EncodedLen())); raw != nil {
			raw, err := b.AppendFrom(raw, payload)
			if err != nil {
				return err
			}
			return direct.Fill(raw)
		}
	}
	_, err := b.Encode(staged, io.LimitReader(payload, int64(b.Payload.Length)))
	return err
}

// cancellable fails reads once its context has ended.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// spool reads a payload of unknown length to its end. The caller calls remove when
// it is done with the result.
func (n *Node) spool(ctx context.Context, payload io.Reader) (spooled io.Reader, size int64, remove func(), err error) {
	payload = &cancellable{ctx, payload}
	head := make([]byte, spoolMemory)
	k, err := io.ReadFull(payload, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return bytes.NewReader(head[:k]), int64(k), func() {}, nil
	}
	if err != nil {
		return nil, 0, nil, fmt.Errorf("reading the payload: %w", err)
	}
	f, err := os.CreateTemp(n.cfg.SpoolDir, "payload-*")
	if err != nil {
		return nil, 0, nil, fmt.Errorf("spooling the payload: %w", err)
	}
	remove = func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
	limit := int64(1) << 62
	if n.cfg.MaxBundle > 0 {
		limit = n.cfg.MaxBundle
	}
	if size, err = copySpool(f, head, io.LimitReader(payload, limit)); err != nil {
		remove()
		return nil, 0, nil, fmt.Errorf("spooling the payload: %w", err)
	}
	if size > limit {
		remove()
		return nil, 0, nil, fmt.Errorf("%w: payload is larger than this node's limit of %d bytes", app.ErrRejected, limit)
	}
	return f, size, remove, nil
}

// copySpool writes head and the rest into f and rewinds it.
func copySpool(f *os.File, head []byte, rest io.Reader) (int64, error) {
	if _, err := f.Write(head); err != nil {
		return 0, err
	}
	k, err := io.Copy(f, rest)
	if err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return int64(len(head)) + k, nil
}
