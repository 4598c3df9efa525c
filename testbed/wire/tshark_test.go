package wire

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Severities of what tshark's experts say.
const (
	severityWarning = "6291456"
	severityError   = "8388608"
)

// unknownPayload is what an expert says of every payload: nobody has told it what
// applications put there.
const unknownPayload = "Unknown type code"

// needTshark skips a test that needs tshark unless it was asked for.
func needTshark(t *testing.T) {
	t.Helper()
	if os.Getenv("WIRE_TESTS") == "" {
		t.Skip(`needs tshark; "make test-wire" runs it`)
	}
}

// A dissection is a capture file as tshark reads it.
type dissection struct {
	file string
}

// capture has write fill a capture file.
func capture(t *testing.T, name string, write func(c *Capture)) dissection {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".pcap")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCapture(f)
	write(c)
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dissection{file}
}

// fields returns the values of fields in the packets that a filter picks, all values
// of a packet after another, one list for each field.
func (d dissection) fields(t *testing.T, filter string, names ...string) [][]string {
	t.Helper()
	args := []string{"-Y", filter, "-T", "fields", "-E", "separator=\t", "-E", "aggregator=;"}
	for _, name := range names {
		args = append(args, "-e", name)
	}
	values := make([][]string, len(names))
	for line := range strings.Lines(d.tshark(t, args...)) {
		for i, cell := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			if cell != "" {
				values[i] = append(values[i], strings.Split(cell, ";")...)
			}
		}
	}
	return values
}

// clean fails when tshark finds a malformed packet, or its experts have warnings or
// errors, besides those that are named.
func (d dissection) clean(t *testing.T, tolerated ...string) {
	t.Helper()
	if malformed := d.fields(t, "_ws.malformed", "frame.number")[0]; len(malformed) > 0 {
		t.Errorf("tshark finds malformed packets: %v", malformed)
	}
	said := d.fields(t, "_ws.expert", "_ws.expert.severity", "_ws.expert.message")
	if len(said[0]) != len(said[1]) {
		t.Fatalf("tshark names %d severities and %d messages", len(said[0]), len(said[1]))
	}
	for i, message := range said[1] {
		serious := said[0][i] == severityWarning || said[0][i] == severityError
		if serious && message != unknownPayload && !slices.Contains(tolerated, message) {
			t.Errorf("tshark complains: %s", message)
		}
	}
}

func (d dissection) tshark(t *testing.T, args ...string) string {
	t.Helper()
	var messages strings.Builder
	// Two passes: an acknowledgement comes after what it is for.
	cmd := exec.CommandContext(t.Context(), "tshark", append([]string{"-r", d.file, "-2"}, args...)...)
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark (Debian: apt-get install tshark): %v\n%s", err, &messages)
	}
	return string(out)
}
