// Package bpsec signs bundles and checks their signatures: block integrity blocks
// with the BIB-HMAC-SHA2 context (RFC 9172, RFC 9173 section 3).
//
// It owns the form of security blocks and what is signed. It refuses to know where
// keys come from and what follows when a check fails.
package bpsec

import (
	"errors"

	"perigee/bundle"
	"perigee/bundle/internal/cbor"
)

// ErrMalformed tells that the data of a security block cannot be read.
var ErrMalformed = errors.New("malformed security block")

// Limits of a security block.
const (
	MaxTargets = 64
	MaxItems   = 16 // parameters, and results of one target
)

// hasParameters is the flag of a security block that has parameters (RFC 9172
// section 3.6).
const hasParameters = 1

// Security is the content of a security block, its abstract security block (RFC
// 9172 section 3.6). It is a sequence of CBOR items, not an array.
type Security struct {
	Targets    []uint64 // block numbers
	Context    int64
	Source     bundle.EID // who added the block
	Parameters []Item
	Results    [][]Item // for each target
}

// Item is a parameter or a result: its ID and its value as an encoded CBOR item.
type Item struct {
	ID    uint64
	Value []byte
}

// Parse reads the data of a security block. The result aliases data. Its error
// wraps ErrMalformed.
func Parse(data []byte) (Security, error) {
	d := cbor.NewDecoder(data)
	s, err := parse(&d)
	if err == nil && len(d.Rest()) > 0 {
		err = errors.New("bytes behind the results")
	}
	if err != nil {
		return Security{}, errors.Join(ErrMalformed, err)
	}
	return s, nil
}

func parse(d *cbor.Decoder) (Security, error) {
	var s Security
	err := each(d, MaxTargets, func() error {
		n, err := d.Uint()
		s.Targets = append(s.Targets, n)
		return err
	})
	if err != nil {
		return s, err
	}
	if s.Context, err = d.Int(); err != nil {
		return s, err
	}
	flags, err := d.Uint()
	if err != nil {
		return s, err
	}
	rest := d.Rest()
	source, n, err := bundle.DecodeEID(rest)
	if err != nil {
		return s, err
	}
	s.Source = source
	*d = cbor.NewDecoder(rest[n:])
	if flags&hasParameters != 0 {
		if s.Parameters, err = items(d); err != nil {
			return s, err
		}
	}
	err = each(d, MaxTargets, func() error {
		list, err := items(d)
		s.Results = append(s.Results, list)
		return err
	})
	if err == nil && (len(s.Targets) == 0 || len(s.Results) != len(s.Targets)) {
		err = errors.New("it has not one list of results for each target")
	}
	return s, err
}

// items reads an array of [ID, value] pairs.
func items(d *cbor.Decoder) ([]Item, error) {
	var list []Item
	err := each(d, MaxItems, func() error {
		var it Item
		k := 0
		err := each(d, 2, func() error {
			k++
			if k == 1 {
				var err error
				it.ID, err = d.Uint()
				return err
			}
			from := d.Offset()
			err := d.Skip()
			it.Value = d.Slice(from)
			return err
		})
		if err == nil && k != 2 {
			err = errors.New("a parameter or result is no pair")
		}
		list = append(list, it)
		return err
	})
	return list, err
}

// each reads an array of at most limit items.
func each(d *cbor.Decoder, limit int, item func() error) error {
	it, err := d.Array()
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		more, err := d.More(&it)
		if err != nil || !more {
			return err
		}
		if n == limit {
			return errors.New("an array has too many items")
		}
		if err := item(); err != nil {
			return err
		}
	}
}

// Append appends the data of the security block.
func (s *Security) Append(dst []byte) []byte {
	dst = cbor.AppendArray(dst, len(s.Targets))
	for _, t := range s.Targets {
		dst = cbor.AppendUint(dst, t)
	}
	dst = cbor.AppendInt(dst, s.Context)
	flags := uint64(0)
	if len(s.Parameters) > 0 {
		flags = hasParameters
	}
	dst = s.Source.AppendCBOR(cbor.AppendUint(dst, flags))
	if flags != 0 {
		dst = appendItems(dst, s.Parameters)
	}
	dst = cbor.AppendArray(dst, len(s.Results))
	for _, list := range s.Results {
		dst = appendItems(dst, list)
	}
	return dst
}

func appendItems(dst []byte, list []Item) []byte {
	dst = cbor.AppendArray(dst, len(list))
	for _, it := range list {
		dst = append(cbor.AppendUint(append(dst, 0x82), it.ID), it.Value...)
	}
	return dst
}
