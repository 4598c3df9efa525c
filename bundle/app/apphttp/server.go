package apphttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/store"
)

// Limits bounds what clients may take of the server. A zero field means its
// default.
type Limits struct {
	// Streams is the number of sends, receives, watches and exports at the same
	// time. Default 256.
	Streams int
	// Requests is the number of other requests at the same time. Default 64.
	Requests int
	// Stall is how long a transfer may make no progress. Default 5 minutes.
	Stall time.Duration
	// Lease is how long a client may hold a delivery that it has read, until it
	// is released for it. Default 10 minutes.
	Lease time.Duration
	// Idle is how long a connection without a request is kept. Default 2
	// minutes.
	Idle time.Duration
	// Shutdown is how long Serve waits for transfers under way when it ends.
	// Default 5 seconds.
	Shutdown time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	if l.Streams <= 0 {
		l.Streams = 256
	}
	if l.Requests <= 0 {
		l.Requests = 64
	}
	def(&l.Stall, 5*time.Minute)
	def(&l.Lease, 10*time.Minute)
	def(&l.Idle, 2*time.Minute)
	def(&l.Shutdown, 5*time.Second)
	return l
}

// settleTimeout bounds the node's part of an acknowledgement or a release, which
// are carried through even when their client is gone.
const settleTimeout = 30 * time.Second

// Server offers an app.Client on a socket.
type Server struct {
	// Limits may be set before Serve.
	Limits Limits

	client app.Client
	log    *slog.Logger

	mu       sync.Mutex // guards leases, closed and adding to handlers
	leases   map[string]*lease
	closed   bool
	handlers sync.WaitGroup

	drain    context.Context // ends when Serve begins to end
	streams  chan struct{}
	requests chan struct{}
	copier   copier
}

// NewServer returns a server in front of client. It logs what it cannot tell a
// client to log.
func NewServer(client app.Client, log *slog.Logger) *Server {
	return &Server{client: client, log: log, leases: map[string]*lease{}}
}

// Serve answers clients on l until ctx ends, and closes l. It then ends waiting
// receives and watches, gives transfers under way Limits.Shutdown to finish, cuts
// what is left and returns when every handler has. It returns nil after an
// orderly end. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	limits := s.Limits.withDefaults()
	s.Limits = limits
	s.streams = make(chan struct{}, limits.Streams)
	s.requests = make(chan struct{}, limits.Requests)
	drain, startDrain := context.WithCancel(context.Background())
	defer startDrain()
	s.drain = drain
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	server := &http.Server{
		Handler:           s.handler(),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       limits.Idle,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	var serveErr error
	select {
	case <-ctx.Done():
	case serveErr = <-served:
	}
	startDrain()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.Shutdown)
	defer cancel()
	shutdownErr := server.Shutdown(grace)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	finished := make(chan struct{})
	go func() { // ends with the handlers, which are waited for below
		s.handlers.Wait()
		close(finished)
	}()
	if shutdownErr == nil { // there may still be pipes
		select {
		case <-finished:
		case <-grace.Done():
			shutdownErr = grace.Err()
		}
	}
	if shutdownErr != nil {
		s.log.Warn("cutting application requests that did not finish in time", "limit", limits.Shutdown)
		cut()
		server.Close()
	}
	<-finished
	if serveErr == nil {
		serveErr = <-served
	}
	if errors.Is(serveErr, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving applications on %s: %w", l.Addr(), serveErr)
}

// handler is the switch of the interface.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+pathSend, s.limited(s.streams, s.send))
	mux.Handle("POST "+pathPipe, s.tracked(s.pipe))
	mux.Handle("GET "+pathFetch, s.limited(s.streams, s.fetch))
	mux.Handle("GET "+pathEvents, s.limited(s.streams, s.events))
	mux.Handle("GET "+pathExport, s.limited(s.streams, s.export))
	mux.Handle("POST "+pathVerify, s.limited(s.requests, s.verify))
	mux.Handle("POST "+pathAck, s.limited(s.requests, s.settle))
	mux.Handle("POST "+pathRelease, s.limited(s.requests, s.settle))
	mux.Handle("GET "+pathStatus, s.limited(s.requests, s.status))
	mux.Handle("GET "+pathBundles, s.limited(s.requests, s.bundles))
	mux.Handle("GET "+pathBundle, s.limited(s.requests, s.bundle))
	mux.Handle("GET "+pathPlan, s.limited(s.requests, s.plan))
	mux.Handle("GET "+pathRoute, s.limited(s.requests, s.explainRoute))
	mux.Handle("PUT "+pathLink, s.limited(s.requests, s.holdLink))
	mux.Handle("POST "+pathRollBack, s.limited(s.requests, s.rollBack))
	mux.Handle("PUT "+pathPlan, s.limited(s.requests, s.setPlan))
	mux.Handle("DELETE "+pathBundle, s.limited(s.requests, s.remove))
	mux.Handle("POST "+pathRegistration, s.limited(s.requests, s.register))
	mux.Handle("DELETE "+pathRegistration, s.limited(s.requests, s.register))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, fmt.Errorf("%w: the daemon knows no %s %s; do perigee and perigeed have the same version?",
			errMalformed, r.Method, r.URL.Path))
	})
	return mux
}

// tracked runs serve and counts it as running.
func (s *Server) tracked(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			s.fail(w, fmt.Errorf("%w: the daemon is shutting down", app.ErrClosed))
			return
		}
		defer s.handlers.Done()
		// A deadline of an earlier request on this connection must not hold.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
			s.fail(w, fmt.Errorf("clearing the write deadline: %w", err))
			return
		}
		if err := serve(w, r); err != nil {
			s.fail(w, err)
		}
	})
}

// limited runs serve while a slot is free.
func (s *Server) limited(slots chan struct{}, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return s.tracked(func(w http.ResponseWriter, r *http.Request) error {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			return fmt.Errorf("%w: the daemon already serves %d requests like this", app.ErrTryAgain, cap(slots))
		}
		return serve(w, r)
	})
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// waiting returns a context for a request that waits: it ends with the request
// and when the server begins to end.
func (s *Server) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.drain, cancel)
	return ctx, func() { stop(); cancel() }
}

// ended names the reason when err only says that the server ends.
func (s *Server) ended(err error) error {
	if err != nil && s.drain.Err() != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: the daemon is shutting down", app.ErrClosed)
	}
	return err
}

// fail answers with err. The header must not have been sent.
func (s *Server) fail(w http.ResponseWriter, err error) {
	f, status := failureOf(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(f); err != nil {
		s.log.Debug("telling an application why its request failed", "error", err)
	}
}

// abort cuts a connection whose answer has begun and cannot be completed, so that
// the client never takes a part for the whole.
func (s *Server) abort(doing string, err error) {
	s.log.Debug("cut an application connection", "doing", doing, "error", err)
	panic(http.ErrAbortHandler)
}

// answer sends value as JSON.
func (s *Server) answer(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		s.abort("answering", err)
	}
	return nil
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	status, err := s.client.Status(r.Context())
	if err != nil {
		return err
	}
	return s.answer(w, status)
}

func (s *Server) bundles(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	after, err := number(query, "after")
	if err != nil {
		return err
	}
	limit, err := number(query, "limit")
	if err != nil {
		return err
	}
	records, err := s.client.Bundles(r.Context(), store.Handle(after), int(min(limit, maxRecords)))
	if err != nil {
		return err
	}
	return s.answer(w, records)
}

func (s *Server) bundle(w http.ResponseWriter, r *http.Request) error {
	id, err := bundleID(r)
	if err != nil {
		return err
	}
	trace, err := s.client.Bundle(r.Context(), id)
	if err != nil {
		return err
	}
	return s.answer(w, trace)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) error {
	id, err := bundleID(r)
	if err != nil {
		return err
	}
	if err := s.client.Remove(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) verify(w http.ResponseWriter, r *http.Request) error {
	report, err := s.client.Verify(r.Context())
	if err != nil {
		return err
	}
	return s.answer(w, report)
}

func bundleID(r *http.Request) (bundle.ID, error) {
	id, err := bundle.ParseID(r.URL.Query().Get("id"))
	if err != nil {
		return id, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return id, nil
}

func number(query url.Values, name string) (uint64, error) {
	n, err := strconv.ParseUint(query.Get(name), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s=%q is no number", errMalformed, name, query.Get(name))
	}
	return n, nil
}
