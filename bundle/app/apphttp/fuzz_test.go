package apphttp

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apptest"
	"perigee/bundle/dtntime"
)

// FuzzOutgoing reads the query of a send. What is read survives being written and read
// again.
func FuzzOutgoing(f *testing.F) {
	f.Add(query(bundleFor(here, "")).Encode())
	f.Add(query(app.Outgoing{
		To: bundle.DTN("ground", "files"), From: here, ReportTo: here, Reports: bundle.FlagReportDelivered, Custody: true, Compressed: bundle.ReportingRequests,
		Lifetime: dtntime.Hour, Priority: bundle.PriorityExpedited,
	}).Encode())
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		out, err := outgoing(values)
		if err != nil {
			return
		}
		again, err := outgoing(query(out))
		if err != nil || again != out {
			t.Errorf("read as %+v, and then as %+v, %v", out, again, err)
		}
	})
}

// FuzzRequest sends requests to the paths that answer at once. None may be answered as
// a fault of the server's.
func FuzzRequest(f *testing.F) {
	for _, target := range []string{
		pathBundles + "?after=0&limit=10", pathBundle + "?id=ipn:1.1@800000000000.3", pathStatus,
		pathPlan + "?was=1", pathRoute + "?" + routeValues(app.RouteQuery{To: here, Size: 9, Critical: true}).Encode(),
	} {
		f.Add(http.MethodGet, target)
		f.Add(http.MethodPut, target)
		f.Add(http.MethodPost, target)
	}
	answers := newAnswers(f)
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Path == pathEvents || u.Path == pathPipe {
			return // no request, or one that waits
		}
		w := timelessRecorder{httptest.NewRecorder()}
		answers.ServeHTTP(w, &http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody, Host: "perigee"})
		// To try again is no fault: the plan was another.
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s %s was answered with %d: %s", method, target, w.Code, w.Body)
		}
	})
}

// newAnswers returns the handler of a server in front of a node in memory.
func newAnswers(f *testing.F) http.Handler {
	s := NewServer(apptest.NewMemory(here).Client(), slog.New(slog.DiscardHandler))
	s.Limits = s.Limits.withDefaults()
	s.streams, s.requests = make(chan struct{}, 16), make(chan struct{}, 16)
	s.drain = f.Context()
	return s.handler()
}

// timelessRecorder takes deadlines, as a connection does, and has no use for them.
type timelessRecorder struct{ *httptest.ResponseRecorder }

func (timelessRecorder) SetReadDeadline(time.Time) error  { return nil }
func (timelessRecorder) SetWriteDeadline(time.Time) error { return nil }
