package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"perigee/bundle/contact"
	"perigee/testbed/link"
)

func TestTimeline(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		windows, cuts []span
		open          bool
		want          []change
	}{
		{open: true},
		{cuts: []span{{10 * s, 13 * s}}, open: true, want: []change{{10 * s, false}, {13 * s, true}}},
		{cuts: []span{{0, s}}, open: false, want: []change{{s, true}}},
		{windows: []span{{0, s}}, open: true, want: []change{{s, false}}},
		{windows: []span{{2 * s, 4 * s}, {6 * s, 8 * s}}, want: []change{{2 * s, true}, {4 * s, false}, {6 * s, true}, {8 * s, false}}},
		// Windows that touch or overlap are one, and a cut may reach past one.
		{windows: []span{{4 * s, 6 * s}, {2 * s, 4 * s}, {3 * s, 5 * s}}, want: []change{{2 * s, true}, {6 * s, false}}},
		{windows: []span{{2 * s, 6 * s}}, cuts: []span{{3 * s, 4 * s}, {5 * s, 9 * s}}, want: []change{{2 * s, true}, {3 * s, false}, {4 * s, true}, {5 * s, false}}},
	} {
		open, changes := timeline(test.windows, test.cuts)
		if open != test.open || !slices.Equal(changes, test.want) {
			t.Errorf("windows %v, cuts %v: open %v, %v, want %v, %v", test.windows, test.cuts, open, changes, test.open, test.want)
		}
	}
}

// settingsOf parses a command line of flags.
func settingsOf(line string) (link.Config, []change, error) {
	var o labLink
	flags := pflag.NewFlagSet("link", pflag.ContinueOnError)
	o.flags(flags)
	if err := flags.Parse(strings.Fields(line)); err != nil {
		return link.Config{}, nil, err
	}
	return o.settings()
}

func TestLinkFlags(t *testing.T) {
	const ms = time.Millisecond
	for line, want := range map[string]link.Config{
		"": {},
		"--rate-out 100Mbit/s --rate-back 100kbit/s --delay 8ms --loss 1%": {Shape: link.Shape{
			Out:  link.Lane{Rate: 100 * contact.MegabitPerSecond, Delay: 8 * ms, Loss: link.Loss{Mean: 0.01}},
			Back: link.Lane{Rate: 100 * contact.KilobitPerSecond, Delay: 8 * ms, Loss: link.Loss{Mean: 0.01}},
		}},
		"--delay 8ms,2ms --jitter 1ms,0 --reorder --loss 0.02,0 --burst 5 --duplicate 0,0.1% --queue 64kB,100packets": {Shape: link.Shape{
			Out:  link.Lane{Delay: 8 * ms, Jitter: ms, Reorder: true, Loss: link.Loss{Mean: 0.02, Burst: 5}, Queue: link.Queue{Bytes: 64000}},
			Back: link.Lane{Delay: 2 * ms, Reorder: true, Loss: link.Loss{Burst: 5}, Duplicate: 0.001, Queue: link.Queue{Packets: 100}},
		}},
		"--left sat --right gs --mtu 9000 --seed 7 --keep-queue --keep-flight --window 1s+1s": {
			Closed: true, Left: "sat", Right: "gs", MTU: 9000, Seed: 7, KeepQueue: true, KeepFlight: true,
		},
	} {
		if got, _, err := settingsOf(line); err != nil || got != want {
			t.Errorf("%s: %+v, %v\nwant %+v", line, got, err, want)
		}
	}
	for line, want := range map[string]string{
		"--rate-out 100":            "is not a rate",
		"--delay soon":              "--delay",
		"--delay 8ms,":              "--delay",
		"--loss many":               "is no share",
		"--loss 200%":               "not between 0 and 1",
		"--burst 0.5 --loss 1%":     "mean burst",
		"--jitter 1ms":              "jitter",
		"--queue 5":                 "", // bytes
		"--queue 0":                 "is no queue",
		"--queue fewpackets":        "is no number of packets",
		"--cut 3s":                  `--cut "3s"`,
		"--window 3s+x":             `--window "3s+x"`,
		"--window 3s+0s":            "AT+DURATION",
		"--window -3s+1s":           "AT+DURATION",
		"--backend proxy":           "want one of auto, netem, tun, netns",
		"--in middle":               "want left or right",
		"--left a/b":                "is no name",
		"--mtu 10":                  "MTU of 10 bytes",
		"--delay 5h":                "is not between 0 and 1h",
		"--left same --right same":  "both network namespaces",
		"--loss 90% --burst 2":      "leaves no packet",
		"--duplicate -1":            "not between 0 and 1",
		"--rate-back 1000Tbit/s":    "is more than",
		"--delay 8ms --jitter 1x,0": "--jitter",
	} {
		_, _, err := settingsOf(line)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
