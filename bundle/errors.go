package bundle

import (
	"errors"
	"fmt"
	"io"

	"perigee/bundle/internal/cbor"
)

// ErrLimit is wrapped by a ParseError about a bundle that is well-formed as far
// as it was read but exceeds a limit of the reader.
var ErrLimit = errors.New("limit exceeded")

// A ParseError tells why bytes are not a bundle or an administrative record. It
// wraps io.ErrUnexpectedEOF when they end too early and ErrLimit when they exceed
// the Limits.
type ParseError struct {
	Offset  int64  // of the item at fault, in bytes from the beginning
	Section string // that says so, such as "RFC 9171 section 4.1"; may be empty
	Reason  string
	Err     error // io.ErrUnexpectedEOF, ErrLimit, ErrEID or nil
}

func (e *ParseError) Error() string {
	if e.Section == "" {
		return fmt.Sprintf("malformed at byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("malformed at byte %d: %s (%s)", e.Offset, e.Reason, e.Section)
}

// Unwrap returns e.Err.
func (e *ParseError) Unwrap() error { return e.Err }

// A RuleError tells why a node refuses a well-formed bundle.
type RuleError struct {
	Section string // that holds the rule, such as "RFC 9171 section 4.4.2"
	Reason  string
	// Tolerated tells that the rule is broken by bundles of widespread
	// implementations which could be processed all the same.
	Tolerated bool
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("bundle breaks a rule: %s (%s)", e.Reason, e.Section)
}

// section names a section of RFC 9171.
func section(number string) string { return "RFC 9171 section " + number }

// malformed makes a ParseError.
func malformed(at int, sect, format string, args ...any) *ParseError {
	return &ParseError{Offset: int64(at), Section: section(sect), Reason: fmt.Sprintf(format, args...)}
}

// asParseError turns an error of the CBOR decoder, which counts from base, into a
// ParseError. Errors that already are one keep their section.
func asParseError(err error, base int, sect string) *ParseError {
	var parse *ParseError
	if errors.As(err, &parse) {
		parse.Offset += int64(base)
		return parse
	}
	out := &ParseError{Offset: int64(base), Section: section(sect), Reason: err.Error()}
	var syntax *cbor.Error
	if errors.As(err, &syntax) {
		out.Offset += int64(syntax.Offset)
		out.Reason = syntax.Reason
		out.Err = syntax.Err
	}
	return out
}

// endsEarly tells whether err says that more input is needed.
func endsEarly(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
