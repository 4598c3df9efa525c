//go:build !amd64

package models

// hasFourRows reports whether this machine can run fourRows.
func hasFourRows() bool { return false }

// fourRows is written for amd64 only; see hasFourRows.
func fourRows(int, *float32, int, *float32, int, *float32, int, bool) {
	panic("models: fourRows called on a machine without it")
}
