package link

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"perigee/bundle/contact"
)

// Limits on links.
const (
	MaxRate  = 100 * contact.GigabitPerSecond
	MaxDelay = time.Hour

	DefaultMTU = 1500
	MinMTU     = 576
	MaxMTU     = 65535
)

// Config describes a link.
type Config struct {
	Shape Shape
	// Closed makes the link begin outside a window.
	Closed bool
	// KeepQueue makes what waits to be sent wait for the next window when one
	// ends, and so does what comes meanwhile. Otherwise it is lost.
	KeepQueue bool
	// KeepFlight makes what has been sent arrive though the window has ended.
	// Otherwise it is lost.
	KeepFlight bool
	// Seed decides everything random: a link with the same seed and shape does
	// the same to the same packets.
	Seed uint64

	// MTU is the largest packet of IP in bytes, DefaultMTU if zero.
	MTU int
	// Left and Right name the network namespaces to be made, which must not
	// exist yet. They are named after this process if empty.
	Left, Right string
	// Ends are places for the ends of the link, left and right, in network namespaces
	// that are there already, such as Namespaces: the interfaces are made there by
	// their names and addresses, and go with the link, while the namespaces stay. An
	// address is the second host of a /30 network of its own, whose first host is the
	// link's too. When nothing is given, the link makes namespaces of its own.
	Ends [2]Namespace

	// Listen is the address at which a proxy awaits connections from the left,
	// 127.0.0.1 and a free port if empty. Only ProxyBackend uses it.
	Listen string
	// Target is the address to the right that a proxy relays connections to.
	// Only ProxyBackend uses it.
	Target string
}

// Shape is how a link treats what passes.
type Shape struct {
	Out  Lane // from left to right
	Back Lane // from right to left
}

// Lane is one direction of a link. The zero Lane passes everything at once.
//
// What comes first is the queue, then the sender, which takes its time by the rate,
// then the space: what is lost there was sent.
type Lane struct {
	Rate  contact.BitRate // 0 for no limit
	Delay time.Duration   // one way, from when the last bit was sent
	// Jitter is by how much the delay of a packet may differ from Delay, either
	// way and each value as likely. It is at most Delay.
	Jitter time.Duration
	// Reorder lets a packet with a small delay overtake others. Otherwise it
	// arrives right after them.
	Reorder bool
	Loss    Loss
	// Duplicate is the share of packets that arrive twice, 0 to 1.
	Duplicate float64
	Queue     Queue
}

// Loss is what is lost at random.
type Loss struct {
	// Mean is the share of packets that are lost, 0 to 1.
	Mean float64
	// Burst is how many packets in a row are lost on average, at least 1: losses
	// follow the model of Gilbert (1960) and Elliott (1963) with a good state
	// that loses nothing and a bad one that loses everything. With 0, each
	// packet has its own luck.
	Burst float64
}

// Queue limits what waits to be sent. What finds it full is lost; an empty queue
// takes a packet of any size. When both limits are zero there is one in bytes: a
// fifth of a second at the rate of the lane, or ten packets if that is more.
type Queue struct {
	Bytes   int64 // 0 for no limit
	Packets int   // 0 for no limit
}

// Check tells whether some backend could make such a link.
func (c Config) Check() error {
	if c.MTU != 0 && (c.MTU < MinMTU || c.MTU > MaxMTU) {
		return fmt.Errorf("link: MTU of %d bytes is not between %d and %d", c.MTU, MinMTU, MaxMTU)
	}
	for _, name := range []string{c.Left, c.Right} {
		if name != "" && !namespaceName.MatchString(name) {
			return fmt.Errorf("link: %q is no name for a network namespace; take letters, digits, '.', '_' and '-', at most 64", name)
		}
	}
	if c.Left != "" && c.Left == c.Right {
		return fmt.Errorf("link: both network namespaces are named %s", c.Left)
	}
	if err := c.checkEnds(); err != nil {
		return err
	}
	return c.Shape.check()
}

// joins tells whether the ends of the link are in namespaces that are there already.
func (c Config) joins() bool { return c.Ends != [2]Namespace{} }

func (c Config) checkEnds() error {
	if !c.joins() {
		return nil
	}
	if c.Left != "" || c.Right != "" {
		return errors.New("link: network namespaces are there already, and others are to be made")
	}
	left, right := c.Ends[0], c.Ends[1]
	if left.Name == right.Name || left.Addr == right.Addr {
		return fmt.Errorf("link: both ends are in network namespace %s or have the address %s", left.Name, left.Addr)
	}
	for _, n := range c.Ends {
		switch {
		case !namespaceName.MatchString(n.Name):
			return fmt.Errorf("link: %q is no name of a network namespace", n.Name)
		case !deviceName.MatchString(n.Device):
			return fmt.Errorf("link: %q is no name for an interface; take letters, digits, '.', '_' and '-', at most 15", n.Device)
		case !n.Addr.Is4() || n.Addr.As4()[3]%4 != secondHost:
			return fmt.Errorf("link: %s is not the IPv4 address of the second host of a /30 network", n.Addr)
		}
	}
	return nil
}

// secondHost is that of a /30 network: its address modulo 4.
const secondHost = 2

var deviceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$`)

var namespaceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func (s Shape) check() error {
	for _, l := range []struct {
		name string
		Lane
	}{{"out", s.Out}, {"back", s.Back}} {
		if err := l.check(); err != nil {
			return fmt.Errorf("link shape, %s: %w", l.name, err)
		}
	}
	return nil
}

func (l Lane) check() error {
	// Written so that NaN is refused too.
	isShare := func(x float64) bool { return x >= 0 && x <= 1 }
	switch {
	case l.Rate > MaxRate:
		return fmt.Errorf("rate of %d bit/s is more than %d", l.Rate, MaxRate)
	case l.Delay < 0 || l.Delay > MaxDelay:
		return fmt.Errorf("delay %v is not between 0 and %v", l.Delay, MaxDelay)
	case l.Jitter < 0 || l.Jitter > l.Delay:
		return fmt.Errorf("jitter %v is not between 0 and the delay, %v", l.Jitter, l.Delay)
	case !isShare(l.Loss.Mean):
		return fmt.Errorf("loss of %v is not between 0 and 1", l.Loss.Mean)
	case !isShare(l.Duplicate):
		return fmt.Errorf("duplication of %v is not between 0 and 1", l.Duplicate)
	case l.Queue.Bytes < 0 || l.Queue.Packets < 0:
		return fmt.Errorf("a queue of %d bytes and %d packets is below zero", l.Queue.Bytes, l.Queue.Packets)
	}
	return l.Loss.checkBurst()
}

func (l Loss) checkBurst() error {
	if l.Burst == 0 {
		return nil
	}
	if !(l.Burst >= 1 && l.Burst <= 1e6) {
		return fmt.Errorf("mean burst of losses of %v packets is not between 1 and 1e6", l.Burst)
	}
	// Between two bursts there is at least one packet.
	if l.Mean > l.Burst/(l.Burst+1) {
		return fmt.Errorf("loss of %v in bursts of %v packets leaves no packet between them; it can be %.3g at most",
			l.Mean, l.Burst, l.Burst/(l.Burst+1))
	}
	return nil
}

// queue returns the limits of the queue of a lane, with the default filled in.
func (l Lane) queue(mtu int) Queue {
	if l.Queue != (Queue{}) {
		return l.Queue
	}
	return Queue{Bytes: max(10*int64(mtu), int64(l.Rate)/8/5)}
}

func (c Config) mtu() int {
	if c.MTU == 0 {
		return DefaultMTU
	}
	return c.MTU
}

// feature is something about a link that not every backend has.
type feature string

const (
	hasDelay       feature = "delay"
	hasJitter      feature = "jitter"
	hasLoss        feature = "loss"
	hasDuplication feature = "duplication"
	hasQueueLimit  feature = "queue limit"
	hasTwoLimits   feature = "queue limit in bytes and packets at once"
	hasKeptQueue   feature = "queue that outlives a window"
	hasKeptFlight  feature = "flight that outlives a window"
	hasMTU         feature = "MTU"
	hasNames       feature = "names of network namespaces"
	hasEnds        feature = "ends in network namespaces"
)

// features returns the features that c asks for.
func (c Config) features() []feature {
	out, back := c.Shape.Out, c.Shape.Back
	var asked []feature
	for _, f := range []struct {
		feature feature
		asked   bool
	}{
		{hasDelay, out.Delay != 0 || back.Delay != 0},
		{hasJitter, out.Jitter != 0 || back.Jitter != 0},
		{hasLoss, out.Loss.Mean != 0 || back.Loss.Mean != 0},
		{hasDuplication, out.Duplicate != 0 || back.Duplicate != 0},
		{hasQueueLimit, out.Queue != (Queue{}) || back.Queue != (Queue{})},
		{hasTwoLimits, out.Queue.both() || back.Queue.both()},
		{hasKeptQueue, c.KeepQueue},
		{hasKeptFlight, c.KeepFlight},
		{hasMTU, c.MTU != 0},
		{hasNames, c.Left != "" || c.Right != ""},
		{hasEnds, c.joins()},
	} {
		if f.asked {
			asked = append(asked, f.feature)
		}
	}
	return asked
}

func (q Queue) both() bool { return q.Bytes != 0 && q.Packets != 0 }

// without checks c for a backend that lacks some features.
func (c Config) without(backend string, lacking ...feature) error {
	if err := c.Check(); err != nil {
		return err
	}
	for _, f := range c.features() {
		if slices.Contains(lacking, f) {
			return fmt.Errorf("%w: %s has no %s; leave it out, or use another backend", ErrUnsupported, backend, f)
		}
	}
	return nil
}
