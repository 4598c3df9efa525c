package dtntime

import "testing"

// FuzzDuration reads durations. What is read survives being written and read again.
func FuzzDuration(f *testing.F) {
	for _, d := range []Duration{0, Second, 90 * Minute, 7 * Day} {
		f.Add(d.String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d, again Duration
		if d.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%q read as %s, and then as %s, %v", text, d, again, err)
		}
	})
}
