//go:build race

package core_test

// defaultSeeds is less than otherwise, since the race detector is slow.
const defaultSeeds = 8
