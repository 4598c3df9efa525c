package node

import (
	"context"
	"fmt"
	"io"

	"perigee/bundle/core"
	"perigee/bundle/store"
)

// assemble puts a bundle together from its fragments, beside the loop.
func (n *Node) assemble(x core.Assemble) {
	n.works.Go(func() {
		ev, staged, err := n.putTogether(n.working, x)
		ev.Whole, ev.Err = x.Whole, err
		n.post(input{event: ev, request: &request{staged: staged}})
	})
}

// putTogether stages the whole bundle. Its payload goes from one place of the store
// to the other without ever being in memory as a whole.
func (n *Node) putTogether(ctx context.Context, x core.Assemble) (core.Assembled, store.Staged, error) {
	var ev core.Assembled
	parts := &parts{store: n.cfg.Store, left: x.Parts}
	defer parts.close()
	first := x.Parts[0].Record
	content, err := n.cfg.Store.Open(first.Handle)
	if err != nil {
		return ev, nil, fmt.Errorf("opening the first fragment of %s: %w", x.Whole, err)
	}
	defer content.Close() // read to its end, or given up
	header, err := storedHeader(content, &first)
	if err != nil {
		return ev, nil, err
	}
	whole, err := header.Whole()
	if err != nil {
		return ev, nil, err
	}
	staged, err := n.cfg.Store.Stage(int64(whole.EncodedLen()))
	if err != nil {
		return ev, nil, fmt.Errorf("making room for %s: %w", x.Whole, err)
	}
	if _, err := whole.Encode(staged, &cancellable{ctx, parts}); err != nil {
		staged.Discard()
		return ev, nil, err
	}
	ev.HeaderLen, ev.PayloadLen, ev.Size = int64(whole.HeaderLen()), int64(whole.Payload.Length), staged.Size()
	return ev, staged, nil
}

// parts reads parts of stored fragments one after the other, with one of them open
// at a time.
type parts struct {
	store   store.Store
	left    []core.Part
	content store.Content
	now     io.Reader
}

// Read implements io.Reader.
func (p *parts) Read(b []byte) (int, error) {
	for {
		if p.now != nil {
			k, err := p.now.Read(b)
			if k > 0 || err == nil {
				return k, nil
			}
			if err != io.EOF {
				return 0, err
			}
			p.close()
		}
		if len(p.left) == 0 {
			return 0, io.EOF
		}
		next := p.left[0]
		p.left = p.left[1:]
		content, err := p.store.Open(next.Record.Handle)
		if err != nil {
			return 0, fmt.Errorf("opening fragment %s: %w", next.Record.ID, err)
		}
		p.content, p.now = content, io.NewSectionReader(content, next.Record.HeaderLen+next.From, next.Length)
	}
}

// close closes what is open.
func (p *parts) close() {
	if p.content != nil {
		_ = p.content.Close() // it was only read from
	}
	p.content, p.now = nil, nil
}
