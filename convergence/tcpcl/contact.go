package tcpcl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"perigee/convergence"
	"perigee/convergence/nodecert"
)

// maxLastWords is what is read from a peer that was refused, so that it can read
// why: a connection that is closed with unread input is reset.
const maxLastWords = 64 << 10

// A contact is a connection before it is a session: contact headers are exchanged,
// and TLS begins where both sides want it. All of it is done by the goroutine that
// opens the session.
type contact struct {
	cfg     Config
	active  bool
	busy    bool   // tell the peer that there are too many sessions
	host    string // the name that was dialled, or empty
	epoch   time.Time
	wire    *wire
	conn    net.Conn // the wire, or TLS over it
	machine *Machine
	peer    *nodecert.Peer // nil without TLS
}

// newContact begins a contact over an open connection.
func newContact(nc net.Conn, cfg Config, active bool) *contact {
	c := &contact{cfg: cfg, active: active, epoch: time.Now(), wire: &wire{Conn: nc}}
	if c.cfg.Time == nil {
		c.cfg.Time = time.Now
	}
	c.conn = c.wire
	return c
}

// establish makes the contact a session, or closes the connection.
func (c *contact) establish(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ContactTimeout,
		fmt.Errorf("there was no session within the contact timeout of %s", c.cfg.ContactTimeout))
	defer cancel()
	params := c.cfg.params(c.active)
	params.Busy, params.Authenticate = c.busy, c.authenticate
	c.machine = NewMachine(params, 0)
	if err := c.open(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		c.giveUp(ctx.Err() == nil)
		return nil, fmt.Errorf("establish TCPCL session with %s: %w", c.wire.RemoteAddr(), err)
	}
	s := newSession(c)
	var err error
	select {
	case <-s.established:
		return s, nil
	case <-s.done:
		err = s.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.end(err)
	s.goroutines.Wait()
	return nil, fmt.Errorf("establish TCPCL session with %s: %w", s.RemoteAddr(), err)
}

// open exchanges contact headers and secures the connection.
func (c *contact) open(ctx context.Context) error {
	secure, err := c.exchangeHeaders(ctx)
	if err != nil || !secure {
		return err
	}
	return c.secure(ctx)
}

// exchangeHeaders says whether TLS is to follow.
func (c *contact) exchangeHeaders(ctx context.Context) (secure bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.HeaderTimeout,
		fmt.Errorf("there was no contact header within %s", c.cfg.HeaderTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.wire.SetDeadline(time.Unix(1, 0)) })
	secure, err = c.headers()
	if !stop() {
		return false, context.Cause(ctx)
	}
	return secure, err
}

func (c *contact) headers() (secure bool, err error) {
	var header [contactHeaderLength]byte
	kept := 0
	for {
		if err := c.say(); err != nil {
			return false, err
		}
		n, err := c.wire.Read(header[kept:])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("peer closed the connection")
			}
			return false, fmt.Errorf("read contact header: %w", err)
		}
		kept += n
		switch _, ev := c.machine.Feed(header[:kept], 0); {
		case ev.Kind == EventFailed:
			return false, c.machine.Err()
		case ev.Kind == EventSecure:
			return true, c.say() // before the first bytes of TLS
		case !c.machine.InContact():
			return false, nil // what there is to say is left to the session
		}
	}
}

// say writes what the machine has to say.
func (c *contact) say() error {
	if c.machine.Output() == 0 {
		return nil
	}
	if _, err := c.wire.Write(c.machine.TakeOutput(nil)); err != nil {
		return fmt.Errorf("write contact header: %w", err)
	}
	return nil
}

// giveUp closes the connection. In an orderly way, what the machine or TLS has to
// say to the peer is said first, and the peer gets a moment to read it.
func (c *contact) giveUp(orderly bool) {
	defer c.wire.Close()
	secured := !c.machine.InContact() && c.machine.Err() == nil // TLS has failed, and said so
	if !orderly || c.machine.Output() == 0 && !secured {
		return
	}
	c.wire.SetDeadline(time.Now().Add(lingerTimeout))
	if c.say() == nil && c.wire.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.wire, maxLastWords) // the connection ends either way
	}
}

// Client opens a session as the active entity over an open connection, which it
// then owns: it is closed when the session ends or cannot be established.
func Client(ctx context.Context, nc net.Conn, cfg Config) (convergence.Session, error) {
	return client(ctx, nc, cfg, "")
}

// client is Client for a connection to a host that was dialled by its name.
func client(ctx context.Context, nc net.Conn, cfg Config, host string) (convergence.Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	c := newContact(nc, cfg, true)
	c.host = host
	return orNil(c.establish(ctx))
}

// Server opens a session as the passive entity over an open connection, which it
// then owns: it is closed when the session ends or cannot be established.
func Server(ctx context.Context, nc net.Conn, cfg Config) (convergence.Session, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return orNil(newContact(nc, cfg, false).establish(ctx))
}

// orNil makes no session a nil interface.
func orNil(s *session, err error) (convergence.Session, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}
