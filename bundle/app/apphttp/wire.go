package apphttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"perigee/bundle/app"
	"perigee/bundle/store"
)

// Paths of the interface. The prefix changes when an old client could no longer
// be understood.
const (
	pathStatus  = "/v1/status"
	pathSend    = "/v1/send"
	pathPipe    = "/v1/pipe"
	pathFetch   = "/v1/fetch"
	pathAck     = "/v1/ack"
	pathRelease = "/v1/release"
	pathEvents  = "/v1/events"
	pathBundles = "/v1/bundles"
	pathBundle  = "/v1/bundle"
	pathExport  = "/v1/export"
	pathVerify  = "/v1/verify"

	pathRegistration = "/v1/registration"
)

// Limits on what either side accepts of the other.
const (
	maxHeaderBytes = 32 << 10
	maxErrorBytes  = 64 << 10
	maxLineBytes   = 1 << 20
	maxJSONBytes   = 64 << 20
	maxRecords     = 10_000 // records in one answer
	bufferBytes    = 64 << 10
	copyBytes      = 256 << 10 // of a payload that are copied at a time
	maxIdle        = 64        // connections that a client keeps for what it asks next
)

// kind pairs the name of a failure on the wire with the error that callers
// branch on.
type kind struct {
	name   string
	err    error
	status int
}

// kinds lists the failures that keep their identity across the socket. The
// first that matches gives the HTTP status.
func kinds() []kind {
	return []kind{
		{"try-again", app.ErrTryAgain, http.StatusServiceUnavailable},
		{"rejected", app.ErrRejected, http.StatusUnprocessableEntity},
		{"not-found", app.ErrNotFound, http.StatusNotFound},
		{"closed", app.ErrClosed, http.StatusServiceUnavailable},
		{"unreachable", app.ErrUnreachable, http.StatusBadGateway},
		{"store-quota", store.ErrQuota, http.StatusInsufficientStorage},
		{"store-full", store.ErrFull, http.StatusInsufficientStorage},
		{"store-failed", store.ErrFailed, http.StatusInsufficientStorage},
		{"store-corrupt", store.ErrCorrupt, http.StatusInternalServerError},
		{"malformed", errMalformed, http.StatusBadRequest},
	}
}

// errMalformed: the request cannot be understood.
var errMalformed = errors.New("malformed request")

// failure is an error on the wire.
type failure struct {
	Message string   `json:"message"`
	Kinds   []string `json:"kinds,omitempty"`
}

// failureOf describes err and chooses its HTTP status.
func failureOf(err error) (failure, int) {
	f := failure{Message: err.Error()}
	status := 0
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			f.Kinds = append(f.Kinds, k.name)
			if status == 0 {
				status = k.status
			}
		}
	}
	if status == 0 {
		status = http.StatusInternalServerError
	}
	return f, status
}

// remoteError is a failure that came over the socket. It has the message of the
// original and matches the same sentinels.
type remoteError struct {
	message string
	kinds   []error
}

func (e *remoteError) Error() string { return e.message }

func (e *remoteError) Unwrap() []error { return e.kinds }

// err gives the failure back as an error.
func (f failure) err() error {
	e := &remoteError{message: f.Message}
	for _, k := range kinds() {
		if slices.Contains(f.Kinds, k.name) {
			e.kinds = append(e.kinds, k.err)
		}
	}
	return e
}

// readFailure reads the error of an answer that is not a success.
func readFailure(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	if err != nil {
		return fmt.Errorf("%w: reading an error answer: %w", app.ErrUnreachable, err)
	}
	var f failure
	if json.Unmarshal(body, &f) != nil || f.Message == "" {
		return fmt.Errorf("daemon answered %s without saying why; is the socket really perigeed's?", resp.Status)
	}
	return f.err()
}

// eventLine is one line of the event stream: an event, or why the stream ends.
type eventLine struct {
	Event *app.Event `json:"event,omitempty"`
	Error *failure   `json:"error,omitempty"`
}
