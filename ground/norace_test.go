//go:build !race

package ground

// underRace tells that the race detector watches.
const underRace = false
