package dtn7agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/dtn7/dtn7-go/pkg/bpv7"

	"perigee/bundle"
	"perigee/bundle/app"
)

// built is the bundle that a REST client describes in dtn7-go's words, which its own
// builder reads. The client's endpoint must be its source, or where reports go.
func built(args map[string]any, client bundle.EID) (out app.Outgoing, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("building a bundle: dtn7-go panicked: %v", r)
		}
	}()
	b, err := bpv7.BuildFromMap(args)
	if err != nil {
		return out, fmt.Errorf("building a bundle: %w", err)
	}
	var raw bytes.Buffer
	if err := b.WriteBundle(&raw); err != nil {
		return out, fmt.Errorf("building a bundle: %w", err)
	}
	out, err = outgoing(&raw)
	if err == nil && out.From != client && out.ReportTo != client {
		err = fmt.Errorf("building a bundle: neither its source %s nor its report-to %s is the client's endpoint, %s", out.From, out.ReportTo, client)
	}
	return out, err
}

// outgoing reads the header of a bundle that a client has made, and tells what the
// node is to make of it. The payload is read on from r; whoever reads it to its end
// has the bundle's form verified.
func outgoing(r io.Reader) (app.Outgoing, error) {
	reader := bundle.NewReader(r, bundle.DefaultLimits())
	b, err := reader.Header()
	if err != nil {
		return app.Outgoing{}, fmt.Errorf("reading the bundle: %w", err)
	}
	p := &b.Primary
	switch {
	case p.Flags&bundle.FlagFragment != 0:
		return app.Outgoing{}, errors.New("the bundle is a fragment; send the whole")
	case p.Flags&bundle.FlagAdminRecord != 0:
		return app.Outgoing{}, errors.New("the bundle is an administrative record, which only nodes send")
	case p.Source.IsNull():
		return app.Outgoing{}, errors.New("the bundle has no source; name an endpoint of this node")
	}
	for i := range b.Extensions {
		switch t := b.Extensions[i].Type; t {
		case bundle.TypePreviousNode, bundle.TypeBundleAge, bundle.TypeHopCount, bundle.TypePriority:
		default:
			return app.Outgoing{}, fmt.Errorf("the bundle has a block of type %d; the node makes bundles itself and takes none over", t)
		}
	}
	return app.Outgoing{
		To: p.Destination, From: p.Source, ReportTo: p.ReportTo, Reports: p.Flags & bundle.ReportFlags,
		Lifetime: p.Lifetime, Priority: b.Priority(), Payload: reader, Length: int64(b.Payload.Length),
	}, nil
}
