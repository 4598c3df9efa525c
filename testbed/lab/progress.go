package lab

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress shows how a run goes.
type Progress interface {
	// Stage begins a stage of so many steps, 0 when they are not counted.
	Stage(what string, steps int)
	// Step tells how many steps of the stage are done.
	Step(done int)
	// Say prints one line.
	Say(line string)
}

// NewProgress returns a Progress that writes to w: bars on a terminal, lines
// elsewhere.
func NewProgress(w io.Writer, terminal bool) Progress {
	if terminal {
		return &bars{w: w}
	}
	return &lines{w: w, begun: time.Now()}
}

// bars draws a progress bar for each stage.
type bars struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

func (b *bars) Stage(what string, steps int) {
	b.end()
	if steps == 0 {
		fmt.Fprintln(b.w, what)
		return
	}
	b.bar = progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
	)
}

func (b *bars) Step(done int) {
	if b.bar != nil {
		_ = b.bar.Set(min(done, b.bar.GetMax())) // a bar that cannot be drawn is no failure
	}
}

func (b *bars) Say(line string) {
	b.end()
	fmt.Fprintln(b.w, line)
}

func (b *bars) end() {
	if b.bar != nil {
		_ = b.bar.Finish()
		fmt.Fprintln(b.w)
		b.bar = nil
	}
}

// lines writes a line for each stage and each quarter of it.
type lines struct {
	w       io.Writer
	begun   time.Time
	what    string
	steps   int
	quarter int
}

func (l *lines) Stage(what string, steps int) {
	l.what, l.steps, l.quarter = what, steps, 0
	l.Say(what)
}

func (l *lines) Step(done int) {
	if l.steps == 0 {
		return
	}
	if q := 4 * done / l.steps; q > l.quarter && q < 4 {
		l.quarter = q
		l.Say(fmt.Sprintf("%s: %d of %d", l.what, done, l.steps))
	}
}

func (l *lines) Say(line string) {
	fmt.Fprintf(l.w, "%5.0fs  %s\n", time.Since(l.begun).Seconds(), line)
}
