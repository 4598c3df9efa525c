package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// inspection is what "perigee bundle inspect" shows.
type inspection struct {
	Verdict string       `json:"verdict"`
	Reason  string       `json:"reason,omitempty"`
	Section string       `json:"section,omitempty"`
	Offset  *int64       `json:"offset,omitempty"`
	ID      *bundle.ID   `json:"id,omitempty"`
	Size    int64        `json:"size,omitempty"`
	Expires string       `json:"expires,omitempty"`
	Expired bool         `json:"expired"`
	Primary *primaryView `json:"primary,omitempty"`
	Blocks  []blockView  `json:"blocks,omitempty"`
	Record  *recordView  `json:"admin_record,omitempty"`
}

type primaryView struct {
	Destination bundle.EID   `json:"destination"`
	Source      bundle.EID   `json:"source"`
	ReportTo    bundle.EID   `json:"report_to"`
	Created     string       `json:"created"`
	CreatedMS   dtntime.Time `json:"created_ms"`
	Sequence    uint64       `json:"sequence"`
	Lifetime    string       `json:"lifetime"`
	LifetimeMS  uint64       `json:"lifetime_ms"`
	Flags       []string     `json:"flags"`
	CRC         string       `json:"crc"`
	Offset      *uint64      `json:"fragment_offset,omitempty"`
	Total       *uint64      `json:"total_length,omitempty"`
}

type blockView struct {
	Type    string   `json:"type"`
	Code    uint64   `json:"code"`
	Number  uint64   `json:"number"`
	Flags   []string `json:"flags"`
	CRC     string   `json:"crc"`
	Length  uint64   `json:"length"`
	Content string   `json:"content"`
}

// viewBundle shows all but the payload's data.
func (v *inspection) viewBundle(b *bundle.Bundle, headerLen int64) {
	id := b.ID()
	p := &b.Primary
	v.ID = &id
	v.Size = headerLen
	v.Primary = &primaryView{
		Destination: p.Destination, Source: p.Source, ReportTo: p.ReportTo,
		Created: p.Created.Time.String(), CreatedMS: p.Created.Time, Sequence: p.Created.Sequence,
		Lifetime: p.Lifetime.String(), LifetimeMS: uint64(p.Lifetime),
		Flags: flagNames(uint64(p.Flags), bundleFlags), CRC: p.CRC.String(),
	}
	if p.Flags&bundle.FlagFragment != 0 {
		v.Primary.Offset, v.Primary.Total = &p.FragmentOffset, &p.TotalLength
	}
	for i := range b.Extensions {
		blk := &b.Extensions[i]
		v.Blocks = append(v.Blocks, blockView{
			Type: blk.Type.String(), Code: uint64(blk.Type), Number: blk.Number,
			Flags: flagNames(uint64(blk.Flags), blockFlags), CRC: blk.CRC.String(),
			Length: uint64(len(blk.Data)), Content: content(b, blk),
		})
	}
}

// viewPayload shows the payload block, given the first bytes of its data.
func (v *inspection) viewPayload(b *bundle.Bundle, first []byte) {
	view := blockView{
		Type: bundle.TypePayload.String(), Code: uint64(bundle.TypePayload), Number: 1,
		Flags: flagNames(uint64(b.Payload.Flags), blockFlags), CRC: b.Payload.CRC.String(),
		Length: b.Payload.Length, Content: preview(first, b.Payload.Length),
	}
	if b.Encrypted(view.Number) {
		view.Content = "encrypted " + view.Content
	}
	v.Blocks = append(v.Blocks, view)
}

// content describes what an extension block holds.
func content(b *bundle.Bundle, blk *bundle.Block) string {
	raw := preview(blk.Data, uint64(len(blk.Data)))
	if b.Encrypted(blk.Number) {
		return "encrypted " + raw
	}
	var text string
	var err error
	switch blk.Type {
	case bundle.TypePreviousNode:
		text, err = describe(blk.PreviousNode())
	case bundle.TypeBundleAge:
		text, err = describe(blk.BundleAge())
	case bundle.TypePriority:
		var c bundle.Class
		c, err = blk.Class()
		text = c.String()
	case bundle.TypeHopCount:
		var h bundle.HopCount
		h, err = blk.HopCount()
		text = fmt.Sprintf("%d of %d hops", h.Count, h.Limit)
	case bundle.TypeCustody:
		var c bundle.Custody
		c, err = blk.Custody()
		text = fmt.Sprintf("custodian %s, sequence %d, number %d", c.Custodian, c.SeqID, c.SeqNum)
	case bundle.TypeReporting:
		var r bundle.Reporting
		r, err = blk.Reporting()
		text = reportingText(&r)
	default:
		return raw
	}
	if err != nil {
		return "unreadable " + raw
	}
	return text
}

// reportingText describes the content of a compressed reporting block.
func reportingText(r *bundle.Reporting) string {
	var names []flagName
	for status, name := range compressedReports() {
		names = append(names, flagName{1 << status, name})
	}
	text := fmt.Sprintf("%s, sequence %d, number %d", joined(flagNames(uint64(r.Requests), names)), r.SeqID, r.SeqNum)
	if !r.Source.IsNull() {
		text += " of " + r.Source.String()
	}
	if !r.ReportTo.IsNull() {
		text += ", to " + r.ReportTo.String()
	}
	return text
}

func describe[T fmt.Stringer](v T, err error) (string, error) { return v.String(), err }

// preview shows the first bytes of data whose whole length is length, as text too
// when they are printable.
func preview(data []byte, length uint64) string {
	if length == 0 {
		return "empty"
	}
	data = data[:min(len(data), previewSize)]
	s := hex.EncodeToString(data)
	if uint64(len(data)) < length {
		s += "..."
	}
	if text := printable(data); text != "" {
		s += fmt.Sprintf(" %q", text)
	}
	return s
}

// printable returns data as text, or "" when it is not.
func printable(data []byte) string {
	for len(data) > 0 && !utf8.Valid(data) && !utf8.FullRune(lastRune(data)) {
		data = data[:len(data)-len(lastRune(data))] // cut in the middle of a character
	}
	if !utf8.Valid(data) {
		return ""
	}
	for _, r := range string(data) {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return ""
		}
	}
	return string(data)
}

// lastRune returns the bytes of the last character, which may be incomplete.
func lastRune(data []byte) []byte {
	for i := len(data) - 1; i >= 0 && i >= len(data)-utf8.UTFMax; i-- {
		if utf8.RuneStart(data[i]) {
			return data[i:]
		}
	}
	return data[len(data)-1:]
}

type flagName struct {
	bit  uint64
	name string
}

var bundleFlags = []flagName{
	{uint64(bundle.FlagFragment), "fragment"},
	{uint64(bundle.FlagAdminRecord), "admin-record"},
	{uint64(bundle.FlagMustNotFragment), "must-not-fragment"},
	{uint64(bundle.FlagAckRequested), "ack-requested"},
	{uint64(bundle.FlagStatusTime), "status-time"},
	{uint64(bundle.FlagReportReception), "report-reception"},
	{uint64(bundle.FlagReportForwarded), "report-forwarding"},
	{uint64(bundle.FlagReportDelivered), "report-delivery"},
	{uint64(bundle.FlagReportDeleted), "report-deletion"},
}

var blockFlags = []flagName{
	{uint64(bundle.BlockReplicate), "replicate"},
	{uint64(bundle.BlockReport), "report"},
	{uint64(bundle.BlockDeleteBundle), "delete-bundle"},
	{uint64(bundle.BlockDiscard), "discard"},
}

// flagNames names the bits of v; those without a name are shown as one number.
func flagNames(v uint64, names []flagName) []string {
	out := []string{}
	for _, n := range names {
		if v&n.bit != 0 {
			out = append(out, n.name)
			v &^= n.bit
		}
	}
	if v != 0 {
		out = append(out, fmt.Sprintf("0x%x", v))
	}
	return out
}

func joined(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// table writes the inspection for people.
func (v *inspection) table(w io.Writer) {
	if v.Primary != nil {
		v.primaryTable(w)
		row(w, "")
		row(w, "BLOCK", "NUMBER", "FLAGS", "CRC", "BYTES", "CONTENT")
		for _, b := range v.Blocks {
			row(w, b.Type, b.Number, joined(b.Flags), b.CRC, b.Length, b.Content)
		}
		row(w, "")
	}
	if v.Record != nil {
		v.Record.table(w)
		row(w, "")
	}
	row(w, "verdict", v.Verdict)
	if v.Reason != "" {
		row(w, "reason", v.Reason)
	}
	if v.Section != "" {
		row(w, "section", v.Section)
	}
	if v.Offset != nil {
		row(w, "offset", *v.Offset)
	}
}

func (v *inspection) primaryTable(w io.Writer) {
	p := v.Primary
	row(w, "bundle", v.ID)
	row(w, "source", p.Source)
	row(w, "destination", p.Destination)
	row(w, "report-to", p.ReportTo)
	row(w, "created", fmt.Sprintf("%s, sequence %d", p.Created, p.Sequence))
	expires := p.Lifetime
	if v.Expires != "" {
		expires += ", expires " + v.Expires
	}
	if v.Expired {
		expires += " (expired)"
	}
	row(w, "lifetime", expires)
	row(w, "flags", joined(p.Flags))
	row(w, "crc", p.CRC)
	if p.Offset != nil {
		row(w, "fragment", fmt.Sprintf("from byte %d of %d", *p.Offset, *p.Total))
	}
	row(w, "size", fmt.Sprintf("%d bytes", v.Size))
}
