package dtn7

import (
	"bytes"
	"fmt"

	"github.com/dtn7/dtn7-go/pkg/bpv7"

	"perigee/convergence"
)

// parse reads a bundle with dtn7-go's codec. The bundle is the caller's alone, since
// dtn7-go writes to bundles while it encodes them.
func parse(raw []byte) (b bpv7.Bundle, err error) {
	defer recovered(&err)
	r := bytes.NewReader(raw)
	if b, err = bpv7.ParseBundle(r); err != nil {
		return b, err
	}
	if r.Len() > 0 {
		return b, fmt.Errorf("%d bytes follow the bundle", r.Len())
	}
	return b, nil
}

// encode writes a bundle that nobody else has.
func encode(b *bpv7.Bundle) (raw []byte, err error) {
	defer recovered(&err)
	var w bytes.Buffer
	if err := b.WriteBundle(&w); err != nil {
		return nil, err
	}
	return w.Bytes(), nil
}

// unchanged reads a bundle that dtn7-go would write just as it came.
func unchanged(raw []byte) (bpv7.Bundle, error) {
	b, err := parse(raw)
	if err != nil {
		return b, notAcceptable("dtn7-go cannot read the bundle: %w", err)
	}
	again, err := encode(&b)
	if err != nil || !bytes.Equal(again, raw) {
		return b, notAcceptable("dtn7-go would not write the bundle as it is (%w)", err)
	}
	return b, nil
}

// notAcceptable is a bundle that this link can never carry.
func notAcceptable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", &convergence.RefusedError{Reason: convergence.RefuseNotAcceptable}, fmt.Errorf(format, args...))
}

// recovered turns a panic of dtn7-go into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("dtn7-go panicked: %v", r)
	}
}
