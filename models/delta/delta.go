package delta

import (
	"errors"
	"fmt"
	"slices"

	"perigee/models"
)

// Errors that callers branch on.
var (
	ErrWrongBase      = errors.New("delta is for another network")
	ErrResultMismatch = errors.New("delta does not give the network it announces")
	ErrCorrupt        = errors.New("corrupt delta")
	ErrBackbone       = errors.New("networks differ in more than their heads")
)

// Info is what a delta says of itself.
type Info struct {
	Encoding Encoding
	Base     models.Hash // network that it applies to
	Backbone models.Hash // backbone of both
	Result   models.Hash // network that results
	Layers   []int       // convolutions that change, ascending
	BodySize int         // bytes of the body before compression
	Use      Use
	// Expected is what the result computes for some pictures that are kept where
	// it is used, at most MaxExpected of them. It is under the signature, too.
	Expected []models.Expected
	Signer   KeyID // zero: not signed
}

// MaxExpected bounds the pictures that a delta says something about.
const MaxExpected = 64

// Use is what whoever made a delta says of its result. It is under the signature.
type Use struct {
	Version   uint64  // version number of the network; 0: none was given
	Draft     bool    // the result is only a step on the way and must not be taken into use
	Threshold float32 // lowest score that counts, 0 to 1; 0: as before
	MinF1     float32 // lowest F1 of a test of the result, 0 to 1
	MatchIoU  float32 // overlap that counts as found in that test, 0 to 1; 0: the usual one
}

func (u Use) check() error {
	for _, v := range []float32{u.Threshold, u.MinF1, u.MatchIoU} {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("threshold %v, least F1 %v and overlap %v, want 0 to 1", u.Threshold, u.MinF1, u.MatchIoU)
		}
	}
	return nil
}

// Delta is a delta in memory. Its Use and what it expects may be set until it is
// encoded.
type Delta struct {
	Info
	packed []byte // the compressed body

	header    []byte // that the signature covers; nil unless decoded
	signature []byte // nil: not signed
}

// Size returns the bytes of the compressed difference, without the header.
func (d *Delta) Size() int { return len(d.packed) }

// Build returns the delta from base to target, which must have the same graph
// and backbone, and the network that applying it gives: target itself when enc
// is lossless, near to it otherwise. Convolutions that do not change take no
// room. Errors wrap ErrEncoding or ErrBackbone.
func Build(base, target *models.Network, enc Encoding) (*Delta, *models.Network, error) {
	if err := enc.check(); err != nil {
		return nil, nil, fmt.Errorf("build delta: %w", err)
	}
	if !differOnlyInHead(base, target) {
		return nil, nil, fmt.Errorf("build delta from %v to %v: %w: send the whole model", base.Hash(), target.Hash(), ErrBackbone)
	}
	info := Info{Encoding: enc, Base: base.Hash(), Backbone: base.BackboneHash()}
	var body []byte
	from, to := base.HeadConvs(), target.HeadConvs()
	for i := range from {
		if slices.Equal(from[i].Bias, to[i].Bias) && slices.Equal(from[i].Weights, to[i].Weights) {
			continue
		}
		info.Layers = append(info.Layers, from[i].Layer)
		var err error
		if body, err = enc.appendLayer(body, &from[i], &to[i]); err != nil {
			return nil, nil, fmt.Errorf("build delta: %w", err)
		}
	}
	info.BodySize = len(body)
	result, err := applyBody(base, &info, body)
	if err != nil {
		return nil, nil, fmt.Errorf("build delta: %w", err)
	}
	info.Result = result.Hash()
	packed, err := compress(body)
	if err != nil {
		return nil, nil, fmt.Errorf("build delta: %w", err)
	}
	return &Delta{Info: info, packed: packed}, result, nil
}

// Step is a delta of a chain and the network that it gives.
type Step struct {
	*Delta
	Network *models.Network
}

// BuildSteps returns a chain of deltas from base towards target, one for each
// encoding: each carries what those before it have left of the difference.
// Errors are those of Build.
func BuildSteps(base, target *models.Network, encodings []Encoding) ([]Step, error) {
	var steps []Step
	for _, enc := range encodings {
		d, result, err := Build(base, target, enc)
		if err != nil {
			return nil, err
		}
		steps = append(steps, Step{d, result})
		base = result
	}
	return steps, nil
}

// differOnlyInHead reports whether the head of b, put on a, makes b.
func differOnlyInHead(a, b *models.Network) bool {
	if a.BackboneHash() != b.BackboneHash() || a.HeadParamCount() != b.HeadParamCount() {
		return false
	}
	joined, err := a.WithHead(b.HeadParams())
	return err == nil && joined.Hash() == b.Hash()
}

// Apply returns the network that d makes of base. Nothing of it is used before
// the base's hash is checked, and nothing is returned unless the result has the
// announced hash. It holds no more than the new head three times over, whatever d
// says. It does not look at the signature. Errors wrap ErrWrongBase, ErrCorrupt or
// ErrResultMismatch.
func (d *Delta) Apply(base *models.Network) (*models.Network, error) {
	if d.Base != base.Hash() || d.Backbone != base.BackboneHash() {
		return nil, fmt.Errorf("apply delta: %w: it applies to %v, this is %v", ErrWrongBase, d.Base, base.Hash())
	}
	need, err := d.need(base)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	body, err := decompress(d.packed, need)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	result, err := applyBody(base, &d.Info, body)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	if result.Hash() != d.Result {
		return nil, fmt.Errorf("apply delta: %w: gives %v, announces %v: ask for it again", ErrResultMismatch, result.Hash(), d.Result)
	}
	return result, nil
}

// need returns the bytes of the body, after checking that the header asks for
// what base has.
func (d *Delta) need(base *models.Network) (int, error) {
	need, at := 0, 0
	for _, c := range base.HeadConvs() {
		if at < len(d.Layers) && d.Layers[at] == c.Layer {
			need += d.Encoding.layerSize(&c)
			at++
		}
	}
	if at != len(d.Layers) {
		return 0, fmt.Errorf("%w: layers %v are not convolutions of the head in ascending order", ErrCorrupt, d.Layers)
	}
	if need != d.BodySize {
		return 0, fmt.Errorf("%w: announces a body of %d bytes, its layers need %d", ErrCorrupt, d.BodySize, need)
	}
	return need, nil
}

// applyBody returns base with the differences in body added. body must have the
// size that its layers need.
func applyBody(base *models.Network, info *Info, body []byte) (*models.Network, error) {
	head := base.HeadParams()
	rest, at := head, 0
	for _, c := range base.HeadConvs() {
		bias, weights := rest[:len(c.Bias)], rest[len(c.Bias):len(c.Bias)+len(c.Weights)]
		rest = rest[len(bias)+len(weights):]
		if at == len(info.Layers) || info.Layers[at] != c.Layer {
			continue
		}
		at++
		var err error
		if body, err = info.Encoding.applyLayer(&c, bias, weights, body); err != nil {
			return nil, err
		}
	}
	result, err := base.WithHead(head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return result, nil
}

// Carried returns the share of the squared difference between base and target that
// result has, from 1 for all of it down to 0 for none, or below for what leads
// away from target. All three have the same head but for its values.
func Carried(base, target, result *models.Network) float64 {
	from, to, at := base.HeadParams(), target.HeadParams(), result.HeadParams()
	var all, left float64
	for i := range to {
		d, e := float64(to[i])-float64(from[i]), float64(to[i])-float64(at[i])
		all += float64(d * d)
		left += float64(e * e)
	}
	if all == 0 {
		return 1
	}
	return 1 - left/all
}
