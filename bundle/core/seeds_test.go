//go:build !race

package core_test

// defaultSeeds is how many worlds a plain test run simulates.
const defaultSeeds = 60
