package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/contact/orbit"
	"perigee/convergence/nodecert"
	"perigee/testbed/lab"
)

// Exit codes. They are part of the command line's contract.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitMalformed   = 65
	exitUnreachable = 69
	exitTryAgain    = 75
)

// errMalformed is wrapped by errors about input that is not what it should be and
// is no bundle either.
var errMalformed = errors.New("malformed input")

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitCode maps the outcome of a command to its exit code.
func exitCode(err error) int {
	var usage *usageError
	var parse *bundle.ParseError
	var rule *bundle.RuleError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &parse), errors.As(err, &rule), errors.Is(err, errMalformed), errors.Is(err, nodecert.ErrPEM),
		errors.Is(err, contact.ErrPlan), errors.Is(err, orbit.ErrElements), errors.Is(err, orbit.ErrSite), errors.Is(err, lab.ErrScenario):
		return exitMalformed
	case errors.Is(err, app.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, app.ErrTryAgain):
		return exitTryAgain
	}
	return exitFailed
}

// errorView is how an error looks with -o json.
type errorView struct {
	Error   string `json:"error"`
	Code    int    `json:"code"`
	Reason  string `json:"reason,omitempty"`
	Section string `json:"section,omitempty"`
	Offset  *int64 `json:"offset,omitempty"`
}

// report tells the user about an error, in JSON when data is JSON.
func (e *env) report(err error) {
	if e.output != formatJSON {
		fmt.Fprintf(e.err, "perigee: %v\n", err)
		return
	}
	view := errorView{Error: err.Error(), Code: exitCode(err)}
	var parse *bundle.ParseError
	var rule *bundle.RuleError
	switch {
	case errors.As(err, &parse):
		view.Reason, view.Section, view.Offset = parse.Reason, parse.Section, &parse.Offset
	case errors.As(err, &rule):
		view.Reason, view.Section = rule.Reason, rule.Section
	}
	// Nothing is left to tell a failure to when standard error is gone.
	_ = json.NewEncoder(e.err).Encode(view)
}
