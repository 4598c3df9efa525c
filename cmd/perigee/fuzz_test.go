package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"testing"
)

// FuzzDecodeText reads bundles as bytes or as hexadecimal. What is spelled out is what
// comes.
func FuzzDecodeText(f *testing.F) {
	f.Add([]byte("9f 88 07\n"))
	f.Add([]byte{0x9f, 0x88, 0x07})
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := decodeText(bytes.NewReader(text)); err == nil {
			_, _ = io.Copy(io.Discard, r) // it may say what is wrong
		}
		if len(text) == 0 {
			return
		}
		r, err := decodeText(bytes.NewReader([]byte(hex.EncodeToString(text))))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%x came as %x, %v", text, got, err)
		}
	})
}
