//go:build !amd64

package kernel

// Sets returns what this machine can run, the best last.
func Sets() []Set { return []Set{Portable()} }
