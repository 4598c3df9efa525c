package dtn7agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"perigee/bundle"
	"perigee/bundle/app"
)

// headerRoom is what a bundle may have besides its payload, in bytes.
const headerRoom = 64 << 10

// A socket is a client of the WebSocket agent.
type socket struct {
	agents *Agents
	conn   *websocket.Conn
	// cancel ends the client's connection.
	cancel     context.CancelFunc
	delivering sync.WaitGroup
	registered bool // owned by the goroutine that reads

	writing sync.Mutex // held while a message is written
}

// serveSocket serves /ws.
func (a *Agents) serveSocket(w http.ResponseWriter, r *http.Request) {
	select {
	case a.sockets <- struct{}{}:
		defer func() { <-a.sockets }()
	default:
		http.Error(w, fmt.Sprintf("there are %d clients already; close those that are done", maxSockets), http.StatusServiceUnavailable)
		return
	}
	a.open.Add(1)
	defer a.open.Done()
	var upgrader websocket.Upgrader // refuses pages of other sites
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		a.log.Debug("could not open a WebSocket for a dtn7 client", "address", r.RemoteAddr, "error", err)
		return // the client has been told
	}
	if a.cfg.MaxBundle > 0 {
		conn.SetReadLimit(a.cfg.MaxBundle + headerRoom)
	}
	ctx, cancel := context.WithCancel(r.Context())
	s := &socket{agents: a, conn: conn, cancel: cancel}
	context.AfterFunc(ctx, func() { conn.Close() }) // so that nothing waits for the client any more
	err = s.read(ctx)
	a.log.Debug("a dtn7 client's WebSocket has ended", "address", r.RemoteAddr, "why", err)
	cancel()
	conn.Close()
	s.delivering.Wait()
}

// read takes what the client says until it goes away or ctx ends.
func (s *socket) read(ctx context.Context) error {
	for {
		kind, message, err := s.conn.NextReader()
		if err != nil {
			return err
		}
		if kind != websocket.BinaryMessage {
			return fmt.Errorf("%w: it is a text", errMessage)
		}
		if err := s.take(ctx, message); err != nil {
			return err
		}
	}
}

// take takes one message.
func (s *socket) take(ctx context.Context, message io.Reader) error {
	code, err := readCode(message)
	if err != nil {
		return errors.Join(err, s.tell(err))
	}
	switch code {
	case codeRegister:
		text, err := readText(message)
		if err != nil {
			return errors.Join(err, s.tell(err))
		}
		return s.tell(s.register(ctx, text))
	case codeBundle:
		return s.send(ctx, message)
	default: // as with dtn7-go's daemon, system calls are not answered
		s.agents.log.Debug("passed over a dtn7 client's message", "code", code)
		return nil
	}
}

// register begins to deliver the bundles of an endpoint. A client has one.
func (s *socket) register(ctx context.Context, text string) error {
	e, err := s.agents.endpoint(text)
	if err != nil {
		return err
	}
	if s.registered {
		return fmt.Errorf("register %s: this connection has an endpoint already; open another one", e)
	}
	s.registered = true
	s.delivering.Go(func() {
		err := s.deliverAll(ctx, e)
		s.agents.log.Debug("delivery to a dtn7 client has ended", "endpoint", e, "why", err)
		s.cancel()
	})
	return nil
}

// send sends a bundle of the client. A client hears of what its node refuses, by a
// status that dtn7-go's clients pass over. What the node cannot take now ends the
// connection, since the protocol has no other way to say so.
func (s *socket) send(ctx context.Context, message io.Reader) error {
	out, err := outgoing(message)
	if err == nil {
		out.Custody = s.agents.cfg.Custody
		_, err = s.agents.cfg.Client.Send(ctx, out)
	}
	if err == nil {
		return nil
	}
	s.agents.log.Warn("did not take a bundle of a dtn7 client", "address", s.conn.RemoteAddr().String(), "error", err)
	if _, err := io.Copy(io.Discard, message); err != nil {
		return err // it would not hear, either
	}
	told := s.tell(fmt.Errorf("sending a bundle: %w", err))
	var syntax *bundle.ParseError
	if out.Payload == nil || errors.As(err, &syntax) || errors.Is(err, app.ErrRejected) {
		return told
	}
	return errors.Join(err, told)
}

// tell writes a status.
func (s *socket) tell(problem error) error {
	text, err := status(problem)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.SetWriteDeadline(time.Now().Add(stall))
	return s.conn.WriteMessage(websocket.BinaryMessage, text)
}

// deliverAll writes the bundles of an endpoint until the client goes away or ctx ends.
func (s *socket) deliverAll(ctx context.Context, e bundle.EID) error {
	for {
		d, err := s.agents.cfg.Client.Receive(ctx, e)
		if err != nil {
			return err
		}
		d.Payload.Close()
		switch err := s.deliver(ctx, d); {
		case err == nil:
			s.agents.acknowledge(ctx, d)
		case errors.Is(err, app.ErrNotFound): // it expired meanwhile
			s.agents.release(d)
		default:
			s.agents.release(d)
			return err
		}
	}
}

// deliver writes one bundle, as the node has it.
func (s *socket) deliver(ctx context.Context, d *app.Delivery) error {
	stored, err := s.agents.cfg.Client.Export(ctx, d.ID)
	if err != nil {
		return fmt.Errorf("opening %s: %w", d.ID, err)
	}
	defer stored.Close()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.conn.SetWriteDeadline(time.Now().Add(stall))
	w, err := s.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{arrayOfTwo, codeBundle}); err != nil {
		return err
	}
	if _, err := io.Copy(&timed{w, s.conn}, stored); err != nil {
		return fmt.Errorf("writing %s: %w", d.ID, err)
	}
	return w.Close()
}

// timed gives each write its time.
type timed struct {
	io.Writer
	conn *websocket.Conn
}

func (t *timed) Write(b []byte) (int, error) {
	t.conn.SetWriteDeadline(time.Now().Add(stall))
	return t.Writer.Write(b)
}
