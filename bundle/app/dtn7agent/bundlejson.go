package dtn7agent

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"perigee/bundle"
	"perigee/bundle/app"
)

// dateFormat is how dtn7-go writes times.
const dateFormat = "2006-01-02 15:04:05.000"

// primaryJSON is the primary block as dtn7-go writes it.
type primaryJSON struct {
	Flags       []string    `json:"bundleControlFlags"` // null without any
	Destination string      `json:"destination"`
	Source      string      `json:"source"`
	ReportTo    string      `json:"reportTo"`
	Created     createdJSON `json:"creationTimestamp"`
	Lifetime    uint64      `json:"lifetime"` // milliseconds
}

type createdJSON struct {
	Date     string `json:"date"`
	Sequence uint64 `json:"sequenceNo"`
}

type hopsJSON struct {
	Limit uint8 `json:"limit"`
	Count uint8 `json:"count"`
}

// blockJSON is another block. The payload's data comes behind it, as a stream.
type blockJSON struct {
	Number uint64   `json:"blockNumber"`
	Type   uint64   `json:"blockTypeCode"`
	Name   string   `json:"blockType"`
	Flags  []string `json:"blockControlFlags"` // null without any
	Data   any      `json:"data"`
}

// A name is what dtn7-go calls a flag.
type name[F ~uint64] struct {
	flag F
	text string
}

func bundleFlagNames() []name[bundle.Flags] {
	return []name[bundle.Flags]{
		{bundle.FlagReportDeleted, "REQUESTED_DELETION_STATUS_REPORT"},
		{bundle.FlagReportDelivered, "REQUESTED_DELIVERY_STATUS_REPORT"},
		{bundle.FlagReportForwarded, "REQUESTED_FORWARD_STATUS_REPORT"},
		{bundle.FlagReportReception, "REQUESTED_RECEPTION_STATUS_REPORT"},
		{bundle.FlagStatusTime, "REQUESTED_TIME_IN_STATUS_REPORT"},
		{bundle.FlagAckRequested, "REQUESTED_APPLICATION_ACK"},
		{bundle.FlagMustNotFragment, "MUST_NOT_BE_FRAGMENTED"},
		{bundle.FlagAdminRecord, "ADMINISTRATIVE_PAYLOAD"},
		{bundle.FlagFragment, "IS_FRAGMENT"},
	}
}

func blockFlagNames() []name[bundle.BlockFlags] {
	return []name[bundle.BlockFlags]{
		{bundle.BlockDeleteBundle, "DELETE_BUNDLE"},
		{bundle.BlockReport, "REQUEST_STATUS_REPORT"},
		{bundle.BlockDiscard, "REMOVE_BLOCK"},
		{bundle.BlockReplicate, "REPLICATE_BLOCK"},
	}
}

func named[F ~uint64](flags F, names []name[F]) (list []string) {
	for _, n := range names {
		if flags&n.flag != 0 {
			list = append(list, n.text)
		}
	}
	return list
}

// writeJSON writes a delivered bundle as dtn7-go does, with its payload as a stream.
// It writes nothing when the bundle is gone.
func (a *Agents) writeJSON(ctx context.Context, out *bufio.Writer, d *app.Delivery, first bool) error {
	stored, err := a.cfg.Client.Export(ctx, d.ID)
	if err != nil {
		return fmt.Errorf("opening %s: %w", d.ID, err)
	}
	defer stored.Close()
	r := bundle.NewReader(stored, bundle.DefaultLimits())
	b, err := r.Header()
	if err != nil {
		return fmt.Errorf("reading the header of %s: %w", d.ID, err)
	}
	if !first {
		_ = out.WriteByte(',') // Flush tells
	}
	if err := writeBundle(out, b, r); err != nil {
		return fmt.Errorf("writing %s: %w", d.ID, err)
	}
	return nil
}

func writeBundle(out *bufio.Writer, b *bundle.Bundle, payload io.Reader) error {
	head, err := json.Marshal(primaryOf(&b.Primary))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `{"primaryBlock":%s,"canonicalBlocks":[`, head)
	for i := range b.Extensions {
		text, err := json.Marshal(extensionOf(&b.Extensions[i]))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s,", text)
	}
	text, err := json.Marshal(blockJSON{
		Number: 1, Type: uint64(bundle.TypePayload), Name: "Payload Block", Flags: named(b.Payload.Flags, blockFlagNames()), Data: "",
	})
	if err != nil {
		return err
	}
	// The data stands last, between the quotes.
	_, _ = out.Write(text[:len(text)-len(`"}`)])
	encoder := base64.NewEncoder(base64.StdEncoding, out)
	if _, err := io.Copy(encoder, payload); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	_, err = out.WriteString(`"}]}`)
	return err
}

func primaryOf(p *bundle.Primary) primaryJSON {
	return primaryJSON{
		Flags:       named(p.Flags, bundleFlagNames()),
		Destination: p.Destination.String(), Source: p.Source.String(), ReportTo: p.ReportTo.String(),
		Created:  createdJSON{p.Created.Time.Time().UTC().Format(dateFormat), p.Created.Sequence},
		Lifetime: uint64(p.Lifetime),
	}
}

func extensionOf(blk *bundle.Block) blockJSON {
	j := blockJSON{Number: blk.Number, Type: uint64(blk.Type), Name: "N/A", Flags: named(blk.Flags, blockFlagNames())}
	switch blk.Type {
	case bundle.TypePreviousNode:
		if e, err := blk.PreviousNode(); err == nil {
			j.Name, j.Data = "Previous Node Block", e.String()
			return j
		}
	case bundle.TypeBundleAge:
		if age, err := blk.BundleAge(); err == nil {
			j.Name, j.Data = "Bundle Age Block", fmt.Sprintf("%d ms", uint64(age))
			return j
		}
	case bundle.TypeHopCount:
		if h, err := blk.HopCount(); err == nil {
			j.Name, j.Data = "Hop Count Block", hopsJSON{h.Limit, h.Count}
			return j
		}
	}
	// dtn7-go gives the bytes of others with the head of a byte string.
	data, err := cbor.Marshal(blk.Data)
	if err != nil {
		data = nil
	}
	j.Data = data
	return j
}
