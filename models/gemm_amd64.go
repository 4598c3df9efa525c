package models

import "golang.org/x/sys/cpu"

// hasFourRows reports whether this machine can run fourRows.
func hasFourRows() bool { return cpu.X86.HasAVX2 && cpu.X86.HasFMA }

// fourRows multiplies four rows of a, lda values apart, with 16 columns of b,
// whose depth rows are ldb values apart, into four rows of c, ldc values apart,
// adding to what is there when add is true. Every value of c is one chain of
// fused multiplications and additions in the order of depth.
//
//go:noescape
func fourRows(depth int, a *float32, lda int, b *float32, ldb int, c *float32, ldc int, add bool)
