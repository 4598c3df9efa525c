package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perigee/models"
	"perigee/models/delta"
	"perigee/models/golden"
	"perigee/models/payload"
)

// Limits on files, in bytes.
const (
	maxKeyFile   = 64 << 10
	maxDeltaFile = payload.MaxUpdate
)

// deltaOptions say how a change is packed and what is said of it.
type deltaOptions struct {
	steps     []string
	over      []string
	key       string
	golden    string
	use       delta.Use
	base, out string
	target    string
}

func (o *deltaOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.key, "key", "", "`file` of the Ed25519 key (PEM) that signs; none leaves the change unsigned")
	f.Uint64Var(&o.use.Version, "version", 0, "version `number` of the network that results")
	f.Float32Var(&o.use.Threshold, "threshold", 0, "lowest `score` that counts with the network that results; 0 for as before")
	f.StringVar(&o.golden, "golden", "", "`folder` of the satellite's golden pictures; what the networks compute for them goes along")
	f.Float32Var(&o.use.MinF1, "min-f1", 0, "lowest `F1` that it must reach in the satellite's self-test")
}

func newModelDelta(e *env) *cobra.Command {
	var o deltaOptions
	cmd := &cobra.Command{
		Use:   "delta BASE TARGET OUT.pdelta",
		Short: "Pack the difference between two networks",
		Long: `Delta packs the difference of the head of two networks that share their backbone,
and shows what it takes and how much of the squared difference it carries.

--steps names encodings: lossless, float16, int8 down to int2, or one of these but
the first with -rankN behind, for the nearest difference of a low rank. Several of
them make a chain, coarse to fine, of which each carries what those before it have
left; the files are then OUT-0.pdelta, OUT-1.pdelta and so on.

--over leads a satellite that flies an older network to the same TARGET, bit for bit,
as one that flies a newer one: over those of the named differences that make the
smallest way from BASE to TARGET, or by one lossless difference when that is smaller.
They are written anew, signed with --key, and all but the last as drafts.`,
		Example: `  perigee model delta --steps int4-rank2 v1.pmodel v2.pmodel change.pdelta
  perigee model delta --steps int2-rank1,int4-rank3 --key mission.key.pem --version 2 v1.pmodel v2.pmodel change.pdelta
  perigee model delta --steps lossless v1.pmodel v2.pmodel exact.pdelta
  perigee model delta --over v1-v2.pdelta,v2-v3.pdelta v1.pmodel v3.pmodel change.pdelta`,
		Args: exactArgs("BASE", "TARGET", "OUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.over) > 0 && cmd.Flags().Changed("steps") {
				return usagef("--over takes the differences as they are: leave --steps out")
			}
			o.base, o.target, o.out = args[0], args[1], args[2]
			return runModelDelta(cmd.Context(), e, &o)
		},
	}
	cmd.Flags().StringSliceVar(&o.steps, "steps", []string{"int4"}, "`encodings`, coarse to fine")
	cmd.Flags().StringSliceVar(&o.over, "over", nil, "`files` of differences that may lead on the way; in place of --steps")
	o.flags(cmd.Flags())
	return cmd
}

// packedStep is a step as it is shown.
type packedStep struct {
	File     string      `json:"file,omitempty"`
	Encoding string      `json:"encoding"`
	Bytes    int         `json:"bytes"`
	Carried  float64     `json:"carried"` // share of the squared difference, with the steps before it
	Result   models.Hash `json:"result"`
}

func runModelDelta(ctx context.Context, e *env, o *deltaOptions) error {
	if !strings.EqualFold(filepath.Ext(o.out), delta.FileExt) {
		return usagef("%s does not end in %s", o.out, delta.FileExt)
	}
	encodings, err := delta.ParseSteps(o.steps)
	if err != nil {
		return usagef("--steps: %w", err)
	}
	base, target, err := o.read()
	if err != nil {
		return err
	}
	key, err := o.signingKey()
	if err != nil {
		return err
	}
	var chain []delta.Step
	if len(o.over) > 0 {
		chain, err = o.rebase(base, target)
	} else {
		chain, err = delta.BuildSteps(base, target, encodings)
	}
	if err != nil {
		return fmt.Errorf("delta from %s to %s: %w", o.base, o.target, malformedModel(err))
	}
	if err := o.expect(ctx, chain); err != nil {
		return fmt.Errorf("delta: %w", err)
	}
	view := make([]packedStep, len(chain))
	for i, s := range chain {
		s.Use = o.use
		s.Use.Draft = len(o.over) > 0 && i < len(chain)-1
		file, err := s.Encode(key)
		if err != nil {
			return usagef("delta: %w", err)
		}
		name := o.out
		if len(chain) > 1 {
			ext := filepath.Ext(o.out)
			name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(o.out, ext), i, ext)
		}
		if err := renameio.WriteFile(name, file, 0o644); err != nil {
			return fmt.Errorf("delta: write %s: %w", name, err)
		}
		view[i] = packedStep{name, s.Encoding.String(), len(file), delta.Carried(base, target, s.Network), s.Result}
	}
	return e.print(view, func(w io.Writer) {
		row(w, "FILE", "ENCODING", "BYTES", "CARRIED", "RESULT")
		for _, s := range view {
			row(w, s.File, s.Encoding, s.Bytes, percent(s.Carried), s.Result)
		}
	})
}

// expect has every delta of a chain say what its network computes for the golden
// pictures, if there are any.
func (o *deltaOptions) expect(ctx context.Context, chain []delta.Step) (err error) {
	if o.golden == "" {
		return nil
	}
	pictures, err := golden.Read(o.golden)
	if err != nil {
		return fmt.Errorf("--golden: %w", err)
	}
	e, err := models.NewEngine(chain[0].Network, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	for _, s := range chain {
		if err := e.Load(s.Network); err != nil {
			return err
		}
		if s.Expected, err = golden.Expect(ctx, e, pictures); err != nil {
			return fmt.Errorf("--golden: %w", err)
		}
	}
	return nil
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

// read reads both networks.
func (o *deltaOptions) read() (base, target *models.Network, err error) {
	if base, err = models.ReadFile(o.base); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", o.base, malformedModel(err))
	}
	if target, err = models.ReadFile(o.target); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", o.target, malformedModel(err))
	}
	return base, target, nil
}

func (o *deltaOptions) signingKey() (ed25519.PrivateKey, error) {
	if o.key == "" {
		return nil, nil
	}
	text, err := readBounded(o.key, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	key, err := delta.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w: --key %s: %w", errMalformed, o.key, err)
	}
	return key, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read from
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: %s has more than %d bytes", errMalformed, path, limit)
	}
	return data, err
}

type applyOptions struct {
	keys      []string
	base, out string
	deltas    []string
}

func newModelApply(e *env) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply BASE DELTA... OUT.pmodel",
		Short: "Apply packed differences to a network",
		Long: `Apply makes a network of another one and one or more differences, in order. Each is
bound to the network that it applies to and to the one that results; what does not
fit, is damaged or is not signed by one of --keys is refused, and OUT is not written.
Without --keys, signatures are not looked at.

The exit code is 65 when a difference is refused; the message says why.`,
		Example: `  perigee model apply v1.pmodel change.pdelta v2.pmodel
  perigee model apply --keys mission.pem v1.pmodel change-0.pdelta change-1.pdelta v2.pmodel`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 3 {
				return usagef("BASE, DELTA and OUT are needed")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			o.base, o.deltas, o.out = args[0], args[1:len(args)-1], args[len(args)-1]
			return runModelApply(e, &o)
		},
	}
	cmd.Flags().StringSliceVar(&o.keys, "keys", nil, "`files` of Ed25519 public keys (PEM): refuse what none of them signed")
	return cmd
}

func runModelApply(e *env, o *applyOptions) error {
	if !strings.EqualFold(filepath.Ext(o.out), models.FileExt) {
		return usagef("%s does not end in %s", o.out, models.FileExt)
	}
	keys, err := readPublicKeys(o.keys)
	if err != nil {
		return err
	}
	n, err := models.ReadFile(o.base)
	if err != nil {
		return fmt.Errorf("read %s: %w", o.base, malformedModel(err))
	}
	for _, path := range o.deltas {
		if n, err = applyFile(n, path, keys, len(o.keys) > 0); err != nil {
			return fmt.Errorf("%s: %w", path, malformedModel(err))
		}
	}
	if err := models.WriteFile(o.out, n); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	view := struct {
		File string      `json:"file"`
		Hash models.Hash `json:"hash"`
	}{o.out, n.Hash()}
	return e.print(view, func(w io.Writer) { row(w, view.Hash, view.File) })
}

func applyFile(n *models.Network, path string, keys []ed25519.PublicKey, verify bool) (*models.Network, error) {
	d, err := readDelta(path)
	if err != nil {
		return nil, err
	}
	if verify {
		if err := d.Verify(keys); err != nil {
			return nil, err
		}
	}
	return d.Apply(n)
}

func readDelta(path string) (*delta.Delta, error) {
	data, err := readBounded(path, maxDeltaFile)
	if err != nil {
		return nil, err
	}
	return delta.Decode(data)
}

func readPublicKeys(paths []string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, path := range paths {
		text, err := readBounded(path, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--keys: %w", err)
		}
		found, err := delta.ParsePublicKeys(text)
		if err != nil {
			return nil, fmt.Errorf("%w: --keys %s: %w", errMalformed, path, err)
		}
		keys = append(keys, found...)
	}
	return keys, nil
}

// deltaView is what "perigee model inspect" shows of a difference.
type deltaView struct {
	Format    string      `json:"format"`
	Encoding  string      `json:"encoding"`
	Layers    []int       `json:"layers"` // convolutions that change
	Base      models.Hash `json:"base"`
	Result    models.Hash `json:"result"`
	Backbone  models.Hash `json:"backbone"`
	BodyBytes int         `json:"body_bytes"` // before compression
	Bytes     int         `json:"bytes"`      // compressed
	Signer    string      `json:"signer,omitempty"`
	Version   uint64      `json:"version,omitempty"`
	Draft     bool        `json:"draft"`
	Threshold float32     `json:"threshold,omitempty"`
	MinF1     float32     `json:"min_f1,omitempty"`
	// Golden names the golden pictures of which the delta says what comes out.
	Golden []models.PictureID `json:"golden,omitempty"`
}

func runDeltaInspect(e *env, path string) error {
	d, err := readDelta(path)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", path, malformedModel(err))
	}
	v := deltaView{
		Format: "pdelta", Encoding: d.Encoding.String(), Layers: append([]int{}, d.Layers...), Base: d.Base, Result: d.Result,
		Backbone: d.Backbone, BodyBytes: d.BodySize, Bytes: d.Size(),
		Version: d.Use.Version, Draft: d.Use.Draft, Threshold: d.Use.Threshold, MinF1: d.Use.MinF1,
	}
	for i := range d.Expected {
		v.Golden = append(v.Golden, d.Expected[i].Picture)
	}
	signed := "not signed"
	if d.Signer != (delta.KeyID{}) {
		v.Signer = d.Signer.String()
		signed = "says key " + v.Signer + "; apply --keys verifies it"
	}
	return e.print(v, func(w io.Writer) {
		row(w, "format", v.Format)
		row(w, "encoding", v.Encoding)
		row(w, "layers", numbers(v.Layers, ","))
		row(w, "base", v.Base)
		row(w, "result", v.Result)
		row(w, "backbone", v.Backbone)
		row(w, "body", fmt.Sprintf("%d bytes, compressed %d", v.BodyBytes, v.Bytes))
		row(w, "signature", signed)
		row(w, "use", fmt.Sprintf("version %d, draft %v, threshold %g, least F1 %g", v.Version, v.Draft, v.Threshold, v.MinF1))
		row(w, "golden", fmt.Sprintf("says what %d golden pictures give", len(v.Golden)))
	})
}
