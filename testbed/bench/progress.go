package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells how a run goes: on a terminal in one line that changes, elsewhere
// in a line for each result.
type progress struct {
	mu       sync.Mutex // guards the rest
	w        io.Writer
	terminal bool
	name     string
	begun    time.Time
	open     bool // a line is to be wiped
}

func newProgress(w io.Writer, terminal bool) *progress { return &progress{w: w, terminal: terminal} }

// begin begins a measure.
func (p *progress) begin(name string) {
	p.mu.Lock()
	p.name, p.begun = name, time.Now()
	p.mu.Unlock()
	p.note("")
}

// note says what the measure does now.
func (p *progress) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintf(p.w, "\r\033[K%s %3.0fs %s", p.name, time.Since(p.begun).Seconds(), what)
		p.open = true
	}
}

// done shows a result.
func (p *progress) done(r result) {
	line := fmt.Sprintf("%s: %s %s", r.Name, number(&r.Value), r.Unit)
	if r.Ratio != nil {
		line += fmt.Sprintf(", %s times the reference of %s", number(r.Ratio), number(r.Reference))
	}
	if v := r.verdict(); v != "" {
		line += fmt.Sprintf(": %s (%s)", v, r.Bar)
	}
	p.say(line)
}

// say prints a line.
func (p *progress) say(line string) {
	p.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.w, line)
}

// end wipes the line that changes.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open {
		fmt.Fprint(p.w, "\r\033[K")
		p.open = false
	}
}
