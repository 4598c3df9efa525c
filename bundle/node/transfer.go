package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"perigee/bundle"
	"perigee/bundle/core"
	"perigee/bundle/store"
	"perigee/convergence"
)

const (
	copyBuffer = 64 << 10
	// maxAdminRecord is the largest administrative record that is read.
	maxAdminRecord = 64 << 10
)

// receive stages a bundle that a neighbour sends, checks that it is well-formed,
// and gives it to the core, which answers the neighbour.
func (n *Node) receive(s *session, in convergence.Incoming, buf []byte) error {
	staged, err := n.cfg.Store.Stage(in.Length())
	if err != nil {
		return errors.Join(fmt.Errorf("making room for a bundle: %w", err), in.Refuse(convergence.RefuseNoResources))
	}
	arrival, err := n.stageWhole(in, staged, buf)
	if err != nil {
		staged.Discard()
		n.reportMalformed(s, arrival, err)
		return errors.Join(err, in.Refuse(refusal(err)))
	}
	arrival.Link = s.id
	n.post(input{event: arrival, request: &request{staged: staged, incoming: in}})
	return nil
}

// stageWhole stages a bundle, in the store's memory where that has room.
func (n *Node) stageWhole(in convergence.Incoming, staged store.Staged, buf []byte) (core.Arrival, error) {
	direct, ok := staged.(store.Buffered)
	if !ok || in.Length() <= 0 {
		return n.stage(in, staged, buf)
	}
	raw := direct.Buffer(in.Length())
	if raw == nil {
		return n.stage(in, staged, buf)
	}
	raw = raw[:in.Length()]
	if _, err := io.ReadFull(in, raw); err != nil {
		return core.Arrival{}, fmt.Errorf("reading a bundle of %d bytes: %w", len(raw), err)
	}
	if k, err := in.Read(buf[:1]); k > 0 || !errors.Is(err, io.EOF) {
		return core.Arrival{}, fmt.Errorf("reading a bundle that was said to have %d bytes to its end: %w", len(raw), err)
	}
	a, ok, err := n.parse(raw)
	if !ok {
		return n.stage(bytes.NewReader(raw), io.Discard, buf) // which says what is wrong
	}
	if err != nil {
		return a, err
	}
	return a, direct.Fill(raw)
}

// parse parses a whole bundle and tells whether it is well-formed. Nothing of what it
// returns is of raw's memory.
func (n *Node) parse(raw []byte) (a core.Arrival, ok bool, err error) {
	a.Bundle, a.Size = new(bundle.Bundle), int64(len(raw))
	payload, err := a.Bundle.Decode(raw, n.limits())
	if err != nil {
		return a, false, err
	}
	used, err := a.Bundle.DecodeHeader(raw, n.limits())
	if err != nil {
		return a, false, err
	}
	if _, err := a.Bundle.DecodeHeader(bytes.Clone(raw[:used]), n.limits()); err != nil {
		return a, false, err
	}
	a.HeaderLen = int64(used)
	if n.isRecord(a.Bundle) {
		if err := checkRecord(a.Bundle); err != nil {
			return a, true, err
		}
		a.Admin = bytes.Clone(payload)
	}
	return a, true, nil
}

// isRecord tells whether a bundle is an administrative record for this node.
func (n *Node) isRecord(b *bundle.Bundle) bool {
	p := &b.Primary
	return p.Flags&bundle.FlagAdminRecord != 0 && p.Destination == n.cfg.Node && p.Flags&bundle.FlagFragment == 0
}

// checkRecord refuses an administrative record that is too large to be read.
func checkRecord(b *bundle.Bundle) error {
	if b.Payload.Length <= maxAdminRecord {
		return nil
	}
	return &bundle.ParseError{Section: "RFC 9171 section 6.1", Reason: fmt.Sprintf("administrative record of %d bytes", b.Payload.Length), Err: bundle.ErrLimit}
}

// stage copies a bundle into the store while parsing it.
func (n *Node) stage(in io.Reader, into io.Writer, buf []byte) (core.Arrival, error) {
	var size counter
	r := bundle.NewReader(io.TeeReader(in, io.MultiWriter(into, &size)), n.limits())
	b, err := r.Header()
	if err != nil {
		var broken core.Arrival
		if p, ok := r.Primary(); ok {
			broken.Bundle = &bundle.Bundle{Primary: p}
		}
		return broken, fmt.Errorf("reading the header of a bundle: %w", err)
	}
	a := core.Arrival{Bundle: b, HeaderLen: r.HeaderLen()}
	if n.isRecord(b) {
		if err := checkRecord(b); err != nil {
			return a, err
		}
		var record bytes.Buffer
		if _, err := io.CopyBuffer(&record, r, buf); err != nil {
			return a, fmt.Errorf("reading %s: %w", b.ID(), err)
		}
		a.Admin = record.Bytes()
	} else if err := readAll(r, buf); err != nil {
		return a, fmt.Errorf("reading %s: %w", b.ID(), err)
	}
	a.Size = int64(size)
	return a, nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// reportMalformed lets the core report about a bundle of which at least the primary
// block could be read, unless it was the link that failed.
func (n *Node) reportMalformed(s *session, a core.Arrival, err error) {
	var syntax *bundle.ParseError
	if a.Bundle == nil || !errors.As(err, &syntax) || errors.Is(err, bundle.ErrLimit) || isDone(s) {
		return
	}
	n.post(input{event: core.Malformed{Link: s.id, Primary: a.Bundle.Primary, ID: a.Bundle.ID(), Err: err}})
}

func (n *Node) limits() bundle.Limits {
	lim := bundle.DefaultLimits()
	if n.cfg.MaxBundle > 0 {
		lim.Payload = min(lim.Payload, uint64(n.cfg.MaxBundle))
	}
	return lim
}

// readAll reads r to its end.
func readAll(r io.Reader, buf []byte) error {
	for {
		_, err := r.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// refusal says what a neighbour is told about a bundle that could not be staged.
func refusal(err error) convergence.RefuseReason {
	var syntax *bundle.ParseError
	switch {
	case errors.Is(err, store.ErrQuota), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrFailed):
		return convergence.RefuseNoResources
	case errors.As(err, &syntax):
		return convergence.RefuseNotAcceptable
	}
	return convergence.RefuseUnknown
}

// send sends a stored bundle with its header brought up to date.
func (n *Node) send(ctx context.Context, s *session, x core.Transmit) (convergence.Transfer, error) {
	content, err := n.cfg.Store.Open(x.Record.Handle)
	if err != nil {
		return nil, fmt.Errorf("opening %s to send it: %w", x.Record.ID, err)
	}
	defer content.Close() // read to its end, or given up, when Send returns
	source, err := inOneRead(content, &x.Record)
	if err != nil {
		return nil, err
	}
	b, err := n.header(source, x)
	if err != nil {
		return nil, err
	}
	length, body, err := encoding(b, source, x)
	if err != nil {
		return nil, err
	}
	transfer, err := s.Send(ctx, length, body)
	if err != nil {
		return nil, fmt.Errorf("sending %s: %w", x.Record.ID, err)
	}
	return transfer, nil
}

// inOneRead reads a small bundle at once, since to read its header and then its
// payload would cost more.
func inOneRead(content store.Content, rec *store.Record) (io.ReaderAt, error) {
	if rec.Size > copyBuffer {
		return content, nil
	}
	raw := make([]byte, rec.Size)
	if _, err := content.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading %s: %w", rec.ID, err)
	}
	return bytes.NewReader(raw), nil
}

// encoding returns the bytes of a bundle with header b and how many they are. Those
// behind the header go out as they are stored, unless it is a piece of them.
func encoding(b *bundle.Bundle, content io.ReaderAt, x core.Transmit) (int64, io.Reader, error) {
	if x.Piece == (core.Piece{}) {
		header := b.AppendHeader(nil)
		rest := io.NewSectionReader(content, x.Record.HeaderLen, x.Record.Size-x.Record.HeaderLen)
		return int64(len(header)) + rest.Size(), io.MultiReader(bytes.NewReader(header), rest), nil
	}
	part, err := b.Fragment(x.Piece.Offset, x.Piece.Length)
	if err != nil {
		return 0, nil, err
	}
	payload := io.NewSectionReader(content, x.Record.HeaderLen+int64(x.Piece.Offset), int64(x.Piece.Length))
	return int64(part.EncodedLen()), part.Stream(payload), nil
}

// header returns the header of a stored bundle as it is to be sent now.
func (n *Node) header(content io.ReaderAt, x core.Transmit) (*bundle.Bundle, error) {
	parsed, err := storedHeader(content, &x.Record)
	if err != nil {
		return nil, err
	}
	b := parsed.Clone()
	if err := x.Changes.Apply(&b, &x.Record, n.now()); err != nil {
		return nil, err
	}
	return &b, nil
}

// storedHeader reads the header of a stored bundle.
func storedHeader(content io.ReaderAt, rec *store.Record) (*bundle.Bundle, error) {
	raw := make([]byte, rec.HeaderLen)
	if _, err := content.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the header of %s: %w", rec.ID, err)
	}
	b, err := bundle.NewReader(bytes.NewReader(raw), bundle.DefaultLimits()).Header()
	if err != nil {
		return nil, fmt.Errorf("reading the stored header of %s: %w", rec.ID, err)
	}
	return b, nil
}
