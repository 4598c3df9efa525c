package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

type createOptions struct {
	file       string
	to, from   bundle.EID
	reportTo   bundle.EID
	lifetime   time.Duration
	age        time.Duration
	noClock    bool
	sequence   uint64
	priority   bundle.Priority
	custody    bool
	custodian  bundle.EID
	seqID      uint64
	seqNum     uint64
	crc        string
	hopLimit   uint8
	noFragment bool
	hex        bool
	out        string

	ageSet, prioritySet bool // the flag was given
}

func newCreate(e *env) *cobra.Command {
	var opts createOptions
	cmd := &cobra.Command{
		Use:   "create --to EID FILE|-",
		Short: "Make a bundle of a file",
		Long: `Create makes a bundle whose payload is a file or standard input ("-"), and
writes it to standard output or to the file named by --out. It needs no daemon.
Payloads of any size take little memory; standard input, whose length is not
known, is first copied to a temporary file.

Without --from the bundle is anonymous: it has no identity, cannot be fragmented
and cannot be under custody.`,
		Example: `  perigee bundle create --to ipn:2.10 --from ipn:1.10 --out image.bundle image.jpg
  perigee bundle create --to dtn://ground/samples --from dtn://sat-17/agent --custody --priority expedited --out batch.bundle batch.cbor
  echo hello | perigee bundle create --to ipn:2.7 --hex -`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file = args[0]
			opts.ageSet = cmd.Flags().Changed("age")
			opts.prioritySet = cmd.Flags().Changed("priority")
			return runCreate(cmd.Context(), e, opts)
		},
	}
	opts.flags(cmd)
	return cmd
}

func (o *createOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	eidVar(f, &o.to, "to", "`EID` of the destination (required)")
	eidVar(f, &o.from, "from", "`EID` of the source (default none: nobody is named)")
	eidVar(f, &o.reportTo, "report-to", "`EID` that status reports go to")
	f.DurationVar(&o.lifetime, "lifetime", 24*time.Hour, "how long the bundle is of use")
	f.DurationVar(&o.age, "age", 0, "add a bundle age block with this age")
	f.BoolVar(&o.noClock, "no-clock", false, "leave the creation time unknown; implies --age 0s")
	f.Uint64Var(&o.sequence, "sequence", 0, "sequence `number` of the creation timestamp")
	f.TextVar(&o.priority, "priority", bundle.PriorityNormal, "`class` of service: bulk, normal or expedited")
	f.BoolVar(&o.custody, "custody", false, "put the bundle under custody; implies --no-fragment")
	eidVar(f, &o.custodian, "custodian", "`EID` of the custodian (default the source's node)")
	f.Uint64Var(&o.seqID, "seq-id", 1, "custody sequence `ID`")
	f.Uint64Var(&o.seqNum, "seq-num", 0, "custody sequence `number`")
	f.StringVar(&o.crc, "crc", "32c", "`CRC` of the blocks: 16 or 32c")
	f.Uint8Var(&o.hopLimit, "hop-limit", 0, "add a hop count block with this `limit`, 1 to 255")
	f.BoolVar(&o.noFragment, "no-fragment", false, "forbid fragmentation")
	f.BoolVar(&o.hex, "hex", false, "write hexadecimal text")
	f.StringVar(&o.out, "out", "", "write to `file`, which appears only when it is whole")
	_ = cmd.RegisterFlagCompletionFunc("priority", cobra.FixedCompletions([]string{"bulk", "normal", "expedited"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("crc", cobra.FixedCompletions([]string{"16", "32c"}, cobra.ShellCompDirectiveNoFileComp))
}

// created is what is shown about a bundle that went to a file.
type created struct {
	ID   bundle.ID `json:"id"`
	Size int64     `json:"size"`
	Out  string    `json:"out"`
}

func runCreate(ctx context.Context, e *env, opts createOptions) error {
	b, err := opts.bundle(e.now())
	if err != nil {
		return err
	}
	payload, length, err := e.openPayload(ctx, opts.file)
	if err != nil {
		return err
	}
	defer payload.Close() // only read from
	b.Payload.Length = uint64(length)
	body := &contextReader{ctx, payload}
	if opts.out == "" {
		_, err := encodeTo(e.out, &b, body, opts.hex)
		return err
	}
	n, err := encodeToFile(opts.out, &b, body, opts.hex)
	if err != nil {
		return err
	}
	view := created{ID: b.ID(), Size: n, Out: opts.out}
	return e.print(view, func(w io.Writer) {
		row(w, "BUNDLE", "BYTES", "FILE")
		row(w, view.ID, view.Size, view.Out)
	})
}

// bundle builds the bundle without its payload.
func (o *createOptions) bundle(now dtntime.Time) (bundle.Bundle, error) {
	crc, err := o.check()
	if err != nil {
		return bundle.Bundle{}, err
	}
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC: crc, Destination: o.to, Source: o.from, ReportTo: o.reportTo,
			Created:  bundle.Timestamp{Time: now, Sequence: o.sequence},
			Lifetime: dtntime.Of(o.lifetime),
		},
		Payload: bundle.PayloadHeader{CRC: crc},
	}
	if o.noFragment || o.custody || o.from.IsNull() {
		b.Primary.Flags |= bundle.FlagMustNotFragment
	}
	if o.noClock {
		b.Primary.Created.Time = 0
	}
	if o.ageSet || o.noClock {
		b.SetExtension(bundle.BundleAgeBlock(0, dtntime.Of(o.age)))
	}
	if o.hopLimit > 0 {
		b.SetExtension(bundle.HopCountBlock(0, bundle.HopCount{Limit: o.hopLimit}))
	}
	if o.prioritySet {
		b.SetExtension(bundle.PriorityBlock(0, o.priority))
	}
	if o.custody {
		b.SetExtension(bundle.CustodyBlock(0, bundle.Custody{SeqNum: o.seqNum, SeqID: o.seqID, Custodian: o.custodian}))
	}
	if err := b.Check(); err != nil {
		return bundle.Bundle{}, usagef("create: %w", err)
	}
	return b, nil
}

// check refuses options that contradict each other, and fills in the custodian.
func (o *createOptions) check() (bundle.CRCType, error) {
	crc, ok := map[string]bundle.CRCType{"16": bundle.CRC16, "32c": bundle.CRC32C}[o.crc]
	switch {
	case o.to.IsNull():
		return 0, usagef("create: a destination is missing; give --to EID")
	case !ok:
		return 0, usagef("create: --crc %q is neither 16 nor 32c", o.crc)
	case o.lifetime < 0 || o.age < 0:
		return 0, usagef("create: --lifetime and --age must not be negative")
	}
	if !o.custody {
		if !o.custodian.IsNull() {
			return 0, usagef("create: --custodian needs --custody")
		}
		return crc, nil
	}
	if o.custodian.IsNull() {
		o.custodian = o.from.Node()
	}
	switch {
	case o.from.IsNull():
		return 0, usagef("create: an anonymous bundle cannot be under custody; give --from EID")
	case !o.to.IsSingleton():
		return 0, usagef("create: a bundle to %s, which may be many nodes, cannot be under custody", o.to)
	case o.seqID == 0:
		return 0, usagef("create: --seq-id must be above 0")
	}
	return crc, nil
}

// encodeTo writes the bundle to w and returns how many bytes it has.
func encodeTo(w io.Writer, b *bundle.Bundle, payload io.Reader, asHex bool) (int64, error) {
	if !asHex {
		return b.Encode(w, payload)
	}
	n, err := b.Encode(hex.NewEncoder(w), payload)
	if err != nil {
		return n, err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return n, fmt.Errorf("write end of line: %w", err)
	}
	return n, nil
}

// encodeToFile writes the bundle to a file that is seen either whole or not at
// all.
func encodeToFile(name string, b *bundle.Bundle, payload io.Reader, asHex bool) (n int64, err error) {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644))
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", name, err)
	}
	defer func() {
		if cerr := f.Cleanup(); err == nil && cerr != nil && !errors.Is(cerr, fs.ErrNotExist) {
			err = fmt.Errorf("clean up behind %s: %w", name, cerr)
		}
	}()
	if n, err = encodeTo(f, b, payload, asHex); err != nil {
		return n, err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return n, fmt.Errorf("write %s: %w", name, err)
	}
	return n, nil
}

// openPayload opens a payload and finds its length. A stream is copied to a
// temporary file for that.
func (e *env) openPayload(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	in, err := e.openInput(name)
	if err != nil {
		return nil, 0, err
	}
	if f, ok := in.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("open payload: %w", err), f.Close())
		}
		if info.Mode().IsRegular() {
			return f, info.Size(), nil
		}
	}
	defer in.Close() // only read from
	return spool(&contextReader{ctx, in})
}

// spool copies r to a temporary file that is gone once it is closed.
func spool(r io.Reader) (io.ReadCloser, int64, error) {
	f, err := os.CreateTemp("", "perigee-payload-*")
	if err != nil {
		return nil, 0, fmt.Errorf("copy payload: %w", err)
	}
	n, err := io.Copy(f, r)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if rerr := os.Remove(f.Name()); err == nil {
		err = rerr
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("copy payload to a temporary file: %w", err), f.Close())
	}
	return f, n, nil
}
