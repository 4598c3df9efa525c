package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"perigee/bundle"
)

// previewSize is how many bytes of payload are shown.
const previewSize = 32

// Verdicts of an inspection. They are part of the command line's contract.
const (
	verdictValid     = "valid"
	verdictExpired   = "valid-expired"
	verdictTolerated = "valid-bpa-reject"
	verdictDelete    = "valid-delete"
	verdictStrip     = "valid-strip"
	verdictReject    = "bpa-reject"
	verdictRecord    = "payload"
	verdictInvalid   = "invalid"
)

// Bytes that tell a bare administrative record, an array of two items of which
// the first is a small number, from a bundle.
const (
	firstRecordByte  = 0x82
	largestShortUint = 0x17
)

// inspectLimits are wide: what is shown need not be what a node would take.
func inspectLimits() bundle.Limits {
	return bundle.Limits{Header: 1 << 20, Blocks: 1 << 10, Payload: math.MaxUint64}
}

type inspectOptions struct {
	file string
}

func newInspect(e *env) *cobra.Command {
	var opts inspectOptions
	return &cobra.Command{
		Use:   "inspect FILE|-",
		Short: "Show what is in a bundle and whether it is valid",
		Long: `Inspect reads one bundle, as raw bytes or as hexadecimal text, from a file or
from standard input ("-") and shows every block. It needs no daemon, and bundles
of any size take little memory. A bare administrative record is shown too.

The verdict is one of
  valid             nothing is wrong
  valid-expired     valid, and its lifetime is over
  valid-bpa-reject  well-formed, but refused by nodes that follow RFC 9171
  valid-delete      valid, but an unknown block asks nodes to delete the bundle
  valid-strip       valid, but an unknown block asks nodes to remove the block
  payload           a bare administrative record
  bpa-reject        well-formed, but refused by every node
  invalid           malformed

The exit code is 65 for bpa-reject and invalid, and the reason, the section that
says so and the offset of the fault are printed.`,
		Example: `  perigee bundle inspect image.bundle
  perigee bundle inspect -o json - <image.bundle
  echo 9f89...ff | perigee bundle inspect -`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file = args[0]
			return runInspect(cmd.Context(), e, opts)
		},
	}
}

func runInspect(ctx context.Context, e *env, opts inspectOptions) error {
	file, err := e.openInput(opts.file)
	if err != nil {
		return err
	}
	defer file.Close() // only read from
	in, err := decodeText(&contextReader{ctx, file})
	if err != nil {
		return err
	}
	view := inspection{}
	err = view.inspect(e, in)
	if err != nil && exitCode(err) != exitMalformed {
		return fmt.Errorf("inspect %s: %w", opts.file, err)
	}
	view.explain(err)
	if perr := e.print(&view, view.table); perr != nil {
		return perr
	}
	if err != nil {
		return fmt.Errorf("inspect %s: %w", opts.file, err)
	}
	return nil
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// inspect reads a bundle or a bare administrative record into v. What was read
// before an error stays in v.
func (v *inspection) inspect(e *env, in *bufio.Reader) error {
	start, err := in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(start) == 2 && start[0] == firstRecordByte && start[1] <= largestShortUint {
		return v.inspectRecord(in)
	}
	return v.inspectBundle(e, in)
}

func (v *inspection) inspectRecord(in io.Reader) error {
	payload, err := io.ReadAll(io.LimitReader(in, bundle.MaxAdminRecord+1))
	if err != nil {
		return err
	}
	if len(payload) > bundle.MaxAdminRecord {
		return fmt.Errorf("%w: administrative record is longer than %d bytes", errMalformed, bundle.MaxAdminRecord)
	}
	v.Size = int64(len(payload))
	rec, err := bundle.ParseAdminRecord(payload)
	if err != nil {
		return err
	}
	v.Verdict = verdictRecord
	v.Record = viewRecord(&rec)
	return nil
}

func (v *inspection) inspectBundle(e *env, in io.Reader) error {
	count := &countingReader{Reader: in}
	r := bundle.NewReader(count, inspectLimits())
	b, err := r.Header()
	if err != nil {
		return err
	}
	keep := previewSize
	if b.Primary.Flags&bundle.FlagAdminRecord != 0 && b.Payload.Length <= bundle.MaxAdminRecord {
		keep = bundle.MaxAdminRecord
	}
	v.viewBundle(b, r.HeaderLen())
	first, err := readPayload(r, keep)
	v.viewPayload(b, first)
	if err != nil {
		return err
	}
	v.Size = count.n
	if keep == bundle.MaxAdminRecord {
		rec, err := bundle.ParseAdminRecord(first)
		if err != nil {
			return shift(err, r.HeaderLen())
		}
		v.Record = viewRecord(&rec)
	}
	return v.judge(e, b)
}

// readPayload reads the payload to its end and returns its first bytes.
func readPayload(r io.Reader, keep int) ([]byte, error) {
	first, err := io.ReadAll(io.LimitReader(r, int64(keep)))
	if err != nil {
		return first, err
	}
	_, err = io.Copy(io.Discard, r)
	return first, err
}

// shift moves the offset of a ParseError by what comes before the payload.
func shift(err error, by int64) error {
	var parse *bundle.ParseError
	if errors.As(err, &parse) {
		parse.Offset += by
	}
	return err
}

// judge finds the verdict on a well-formed bundle.
func (v *inspection) judge(e *env, b *bundle.Bundle) error {
	now := e.now()
	expires := b.Expiry(now)
	v.Expires, v.Expired = expires.String(), now >= expires
	unsupported := b.Unsupported()
	err := b.Check()
	var rule *bundle.RuleError
	switch {
	case errors.As(err, &rule) && rule.Tolerated:
		v.Verdict, v.Reason, v.Section = verdictTolerated, rule.Reason, rule.Section
	case err != nil:
		v.Verdict = verdictReject
		return err
	case unsupported.Delete:
		v.Verdict, v.Reason, v.Section = verdictDelete, "a block of unknown type asks for the bundle to be deleted", "RFC 9171 section 5.6"
	case unsupported.Strip:
		v.Verdict, v.Reason, v.Section = verdictStrip, "a block of unknown type asks to be discarded", "RFC 9171 section 5.6"
	case v.Expired:
		v.Verdict, v.Reason, v.Section = verdictExpired, "lifetime is over", "RFC 9171 section 5.5"
	default:
		v.Verdict = verdictValid
	}
	return nil
}

// explain puts the reason for a refusal into v.
func (v *inspection) explain(err error) {
	if err == nil {
		return
	}
	if v.Verdict == "" {
		v.Verdict = verdictInvalid
	}
	v.Reason = err.Error()
	var parse *bundle.ParseError
	var rule *bundle.RuleError
	switch {
	case errors.As(err, &parse):
		v.Reason, v.Section, v.Offset = parse.Reason, parse.Section, &parse.Offset
	case errors.As(err, &rule):
		v.Reason, v.Section = rule.Reason, rule.Section
	}
}

type countingReader struct {
	io.Reader
	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += int64(n)
	return n, err
}
