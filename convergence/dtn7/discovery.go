package dtn7

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"github.com/fxamacker/cbor/v2"
	"golang.org/x/net/ipv4"

	"perigee/convergence"
)

// Group is the multicast group and port of dtn7-go's announcements over IPv4.
const Group = "224.23.23.23:35039"

// Defaults of [DiscoveryConfig].
const (
	DefaultInterval      = 10 * time.Second
	DefaultMaxNeighbours = 64
)

// A DiscoveryConfig says how neighbours are found. Node and Dial are required; other
// zero fields take their defaults.
type DiscoveryConfig struct {
	// Node is the node ID of this node, which dtn7-go must be able to read.
	Node string

	// Ports are those where this node takes MTCP sessions, which it announces.
	// Without any it only listens.
	Ports []int

	// Interval is the time between announcements.
	Interval time.Duration

	// Interfaces are the names of the network interfaces that are used. Default:
	// all that are up and carry multicast.
	Interfaces []string

	// MaxNeighbours bounds the sessions with neighbours that were found, together
	// with those that are being opened. Others are passed over.
	MaxNeighbours int

	// Wanted tells whether a session with a node is wanted. Default: every one.
	Wanted func(node string) bool

	// Dial opens a session with a neighbour. The session's name must be n.Node.
	Dial func(ctx context.Context, n Neighbour) (convergence.Session, error)

	Log *slog.Logger // default: nothing is logged
}

// discoverer is a listener whose sessions are opened from here, with neighbours that
// announce themselves.
type discoverer struct {
	cfg      DiscoveryConfig
	socket   *ipv4.PacketConn
	devices  []net.Interface
	group    *net.UDPAddr
	datagram []byte // empty: nothing is announced
	form     cbor.DecMode
	ctx      context.Context // ends when the listener closes
	cancel   context.CancelFunc
	ready    chan convergence.Session

	goroutines sync.WaitGroup

	mu    sync.Mutex // guards known
	known map[string]bool
}

// Discover looks for nodes that announce MTCP as dtn7-go's daemons do, and opens a
// session with each. It returns them as a listener, whose Accept waits for the next.
// A session that has ended is opened again when its node announces itself again.
//
// Whoever is on the network may announce anything, under any name: it is for networks
// whose nodes are trusted. The context bounds the beginning only.
func Discover(ctx context.Context, cfg DiscoveryConfig) (convergence.Listener, error) {
	d, err := newDiscoverer(cfg)
	if err != nil {
		return nil, fmt.Errorf("discover dtn7 neighbours: %w", err)
	}
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp4", Group) // shares the port with others
	if err != nil {
		return nil, fmt.Errorf("discover dtn7 neighbours: %w", err)
	}
	d.socket = ipv4.NewPacketConn(conn)
	if err := d.join(); err != nil {
		return nil, errors.Join(fmt.Errorf("discover dtn7 neighbours: %w", err), conn.Close())
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.goroutines.Go(d.announce)
	d.goroutines.Go(d.hear)
	return d, nil
}

func newDiscoverer(cfg DiscoveryConfig) (*discoverer, error) {
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.MaxNeighbours == 0 {
		cfg.MaxNeighbours = DefaultMaxNeighbours
	}
	if cfg.Interval < 0 || cfg.MaxNeighbours < 0 || cfg.Dial == nil {
		return nil, errors.New("config: interval and limit must be positive, and Dial be there")
	}
	if cfg.Wanted == nil {
		cfg.Wanted = func(string) bool { return true }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	node, err := endpoint(cfg.Node)
	if err != nil {
		return nil, err
	}
	cfg.Node = node.String()
	d := &discoverer{cfg: cfg, ready: make(chan convergence.Session), known: make(map[string]bool)}
	if d.datagram, err = announcementOf(node, cfg.Ports); err != nil {
		return nil, err
	}
	if d.form, err = wellformed(); err != nil {
		return nil, err
	}
	if d.group, err = net.ResolveUDPAddr("udp4", Group); err != nil {
		return nil, err
	}
	d.devices, err = devices(cfg.Interfaces)
	return d, err
}

// announcementOf is empty when there is nothing to announce.
func announcementOf(node bpv7.EndpointID, ports []int) ([]byte, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	return announcement(node, ports)
}

// devices returns the interfaces of the given names, or all that carry multicast.
func devices(names []string) ([]net.Interface, error) {
	var found []net.Interface
	for _, name := range names {
		device, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("network interface %q: %w", name, err)
		}
		found = append(found, *device)
	}
	if len(names) > 0 {
		return found, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	for _, device := range all {
		if device.Flags&net.FlagUp != 0 && device.Flags&net.FlagMulticast != 0 {
			found = append(found, device)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no network interface is up and carries multicast; name one that does")
	}
	return found, nil
}

// join makes the socket a member of the group on every interface.
func (d *discoverer) join() error {
	for i := range d.devices {
		if err := d.socket.JoinGroup(&d.devices[i], d.group); err != nil {
			return fmt.Errorf("join %s on %s: %w", d.group, d.devices[i].Name, err)
		}
	}
	// Other nodes of this machine hear this one.
	return errors.Join(d.socket.SetMulticastLoopback(true), d.socket.SetMulticastTTL(1))
}

// Addr is the group.
func (d *discoverer) Addr() string { return Group }

func (d *discoverer) Accept(ctx context.Context) (convergence.Session, error) {
	if d.ctx.Err() != nil {
		return nil, convergence.ErrClosed
	}
	select {
	case s := <-d.ready:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-d.ctx.Done():
		return nil, convergence.ErrClosed
	}
}

func (d *discoverer) Close() error {
	d.cancel()
	err := d.socket.Close()
	d.goroutines.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("end the discovery of dtn7 neighbours: %w", err)
	}
	return nil
}

// announce tells at each interval, on every interface, where this node is.
func (d *discoverer) announce() {
	if len(d.datagram) == 0 {
		return
	}
	every := time.NewTicker(d.cfg.Interval)
	defer every.Stop()
	for {
		for _, device := range d.devices {
			if _, err := d.socket.WriteTo(d.datagram, &ipv4.ControlMessage{IfIndex: device.Index}, d.group); err != nil && d.ctx.Err() == nil {
				d.cfg.Log.Debug("could not announce this node", "interface", device.Name, "error", err)
			}
		}
		select {
		case <-every.C:
		case <-d.ctx.Done():
			return
		}
	}
}

// hearPause is the wait after a failed read, so that the loop does not spin.
const hearPause = time.Second

// hear takes announcements until the socket closes.
func (d *discoverer) hear() {
	buf := make([]byte, maxAnnouncement+1)
	for {
		n, _, from, err := d.socket.ReadFrom(buf)
		if err != nil {
			d.cfg.Log.Debug("could not read an announcement", "error", err)
			select {
			case <-time.After(hearPause):
			case <-d.ctx.Done():
			}
			if d.ctx.Err() != nil {
				return
			}
			continue
		}
		found, err := neighbours(d.form, buf[:n], from.(*net.UDPAddr).IP)
		if err != nil {
			d.cfg.Log.Debug("passed over an announcement", "from", from, "error", err)
			continue
		}
		for _, neighbour := range found {
			if d.begin(neighbour.Node) {
				d.goroutines.Go(func() { d.meet(neighbour) })
			}
		}
	}
}

// begin notes a neighbour to be met, unless it is known, not wanted, or one too many.
func (d *discoverer) begin(node string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if node == d.cfg.Node || d.known[node] || len(d.known) >= d.cfg.MaxNeighbours || !d.cfg.Wanted(node) {
		return false
	}
	d.known[node] = true
	return true
}

// meet holds a session with a neighbour until it ends.
func (d *discoverer) meet(n Neighbour) {
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.known, n.Node)
	}()
	s, err := d.cfg.Dial(d.ctx, n)
	if err != nil {
		d.cfg.Log.Debug("could not open a session with a neighbour that announced itself", "peer", n.Node, "address", n.Address, "error", err)
		return
	}
	select {
	case d.ready <- s:
	case <-d.ctx.Done():
		s.Close(d.ctx)
		return
	}
	select { // it is Accept's caller's, who closes it
	case <-s.Done():
	case <-d.ctx.Done():
	}
}
