package dtn7agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
)

// Limits of the agents.
const (
	maxRegistrations = 1024
	keptIdle         = time.Hour // a registration that is used less makes room for others
	maxRequests      = 32        // of REST, at the same time
	maxSockets       = 64
	stall            = 5 * time.Minute // without progress of what is written
	shutdown         = 5 * time.Second
)

// Config says whom the agents serve. Node and Client are required.
type Config struct {
	Node   bundle.EID
	Client app.Client
	// Custody puts what clients send under custody.
	Custody bool
	// MaxBundle is the largest bundle that is taken over a WebSocket, in bytes; 0
	// for no limit but the node's.
	MaxBundle int64
	Log       *slog.Logger // default: nothing is logged
}

// Agents are the two agents of a node.
type Agents struct {
	cfg      Config
	log      *slog.Logger
	requests chan struct{}
	sockets  chan struct{}
	open     sync.WaitGroup // sockets

	mu         sync.Mutex // guards registered
	registered map[string]*registration
}

// A registration is a client of the REST agent.
type registration struct {
	endpoint bundle.EID
	used     time.Time
}

// New returns the agents of a node.
func New(cfg Config) *Agents {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Agents{
		cfg: cfg, log: cfg.Log, requests: make(chan struct{}, maxRequests), sockets: make(chan struct{}, maxSockets),
		registered: make(map[string]*registration),
	}
}

// Handler serves the REST agent under /rest/ and the WebSocket agent at /ws, as far as
// they are asked for. Pages of other sites get no answer to use.
func (a *Agents) Handler(rest, webSocket bool) http.Handler {
	mux := http.NewServeMux()
	if rest {
		mux.HandleFunc("POST /rest/register", a.limited(a.register))
		mux.HandleFunc("POST /rest/unregister", a.limited(a.unregister))
		mux.HandleFunc("POST /rest/fetch", a.limited(a.fetch))
		mux.HandleFunc("POST /rest/build", a.limited(a.build))
	}
	if webSocket {
		mux.HandleFunc("/ws", a.serveSocket)
	}
	return http.NewCrossOriginProtection().Handler(mux)
}

// limited bounds how many requests are served at the same time. Others wait.
func (a *Agents) limited(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case a.requests <- struct{}{}:
			defer func() { <-a.requests }()
			serve(w, r)
		case <-r.Context().Done():
		}
	}
}

// Serve answers clients on l until ctx ends, and returns when all that it started has
// ended. It closes l.
func (a *Agents) Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	connections, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return connections },
		ErrorLog:    slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		soon, cancel := context.WithTimeout(connections, shutdown)
		defer cancel()
		if server.Shutdown(soon) != nil {
			_ = server.Close() // what is left would only be cut later
		}
		err = <-ended
	}
	cut()
	a.open.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving dtn7 clients at %s: %w", l.Addr(), err)
}

// endpoint reads an endpoint of the node.
func (a *Agents) endpoint(text string) (bundle.EID, error) {
	e, err := bundle.ParseEID(text)
	if err != nil {
		return e, fmt.Errorf("register %q: %w", text, err)
	}
	if e.IsNull() || e.Node() != a.cfg.Node || !e.IsSingleton() {
		return e, fmt.Errorf("register %s: it is no endpoint of this node, which is %s", e, a.cfg.Node)
	}
	return e, nil
}

// enter registers a client and returns its UUID, which nobody guesses.
func (a *Agents) enter(e bundle.EID) (string, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", random[0:4], random[4:6], random[6:8], random[8:10], random[10:16])
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.registered) >= maxRegistrations && !a.forget() {
		return "", fmt.Errorf("register %s: there are %d clients already; unregister those that are done", e, maxRegistrations)
	}
	a.registered[uuid] = &registration{e, time.Now()}
	return uuid, nil
}

// forget drops the client that was not heard of for longest, if that is long. The
// caller holds the lock.
func (a *Agents) forget() bool {
	oldest, used := "", time.Now().Add(-keptIdle)
	for uuid, r := range a.registered {
		if r.used.Before(used) {
			oldest, used = uuid, r.used
		}
	}
	delete(a.registered, oldest)
	return oldest != ""
}

// leave drops a client.
func (a *Agents) leave(uuid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.registered, uuid)
}

// errUnknown is a client that is not registered, perhaps no longer.
var errUnknown = errors.New("Invalid UUID: register first, and again after the daemon was restarted") //nolint:staticcheck // dtn7-go's clients may look for its words

// client returns the endpoint of a client.
func (a *Agents) client(uuid string) (bundle.EID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.registered[uuid]
	if r == nil {
		return bundle.EID{}, errUnknown
	}
	r.used = time.Now()
	return r.endpoint, nil
}
