package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"perigee/bundle/contact"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipeListener hands out connections that live in memory, so that a proxy runs on
// the clock of a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a proxy between two ends in memory.
type rig struct {
	*ProxyLink
	left, right *pipeListener
}

func newRig(t *testing.T, c Config) *rig {
	r := &rig{left: newPipeListener(), right: newPipeListener()}
	r.ProxyLink = newProxyLink(r.left, r.right.Dial, c)
	t.Cleanup(func() {
		r.right.Close()
		if err := r.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// connect returns both ends of a connection through the link.
func (r *rig) connect(t *testing.T) (left, right net.Conn) {
	t.Helper()
	left, err := r.left.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	right, err = r.right.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { left.Close(); right.Close() })
	return left, right
}

func (r *rig) setOpen(t *testing.T, open bool) {
	t.Helper()
	if err := r.SetOpen(t.Context(), open); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, what string, got, want, tolerance time.Duration) {
	t.Helper()
	if (got - want).Abs() > tolerance {
		t.Errorf("%s took %v, want %v", what, got, want)
	}
}

func TestProxyRateAndDelay(t *testing.T) {
	for _, c := range []struct {
		rate  contact.BitRate
		delay time.Duration
		size  int
	}{
		{contact.MegabitPerSecond, 50 * time.Millisecond, 250_000},
		{contact.MegabitPerSecond, 10 * time.Minute, 250_000},
		{100 * contact.KilobitPerSecond, 0, 25_000},
		{100 * contact.MegabitPerSecond, 5 * time.Millisecond, 5_000_000},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Config{Shape: Shape{Out: Lane{Rate: c.rate, Delay: c.delay}, Back: Lane{Rate: 8 * c.rate}}})
			left, right := r.connect(t)
			data := bytes.Repeat([]byte("0123456789"), c.size/10)
			start := time.Now()
			go func() {
				if n, err := left.Write(data); err != nil {
					t.Errorf("wrote %d bytes: %v", n, err)
				}
			}()
			got := make([]byte, len(data))
			if _, err := io.ReadFull(right, got[:1]); err != nil {
				t.Fatal(err)
			}
			within(t, "the first byte", time.Since(start), c.delay, max(25*time.Millisecond, c.delay/1000))
			if _, err := io.ReadFull(right, got[1:]); err != nil {
				t.Fatal(err)
			}
			want := busy(int64(c.size), c.rate)
			within(t, "all", time.Since(start), want+c.delay, want/50)
			if !bytes.Equal(got, data) {
				t.Error("other bytes came out")
			}
			s, err := r.Stats(t.Context())
			if err != nil || s.Out.Bytes != int64(c.size) || s.Back.Bytes != 0 || s.Back.Busy != 0 || s.Windows != 1 {
				t.Errorf("stats %+v, %v", s, err)
			}
			within(t, "uplink", s.Out.Busy, want, time.Millisecond)
		})
	}
}

// TestProxySmooth checks that a slow link delivers evenly, not in bursts.
func TestProxySmooth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Shape: Shape{Out: Lane{Rate: 100 * contact.KilobitPerSecond}}})
		left, right := r.connect(t)
		go left.Write(make([]byte, 12_500)) // a second's worth
		start, got := time.Now(), 0
		buffer := make([]byte, 4096)
		for got < 12_500 {
			n, err := right.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			got += n
			if due := int(time.Since(start).Seconds() * 12_500); got > due+minQuantum || got < due-minQuantum {
				t.Fatalf("%d bytes after %v, want %d", got, time.Since(start), due)
			}
		}
	})
}

func TestProxySharesRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Shape: Shape{Back: Lane{Rate: contact.MegabitPerSecond}}})
		start := time.Now()
		var wait sync.WaitGroup
		for range 4 {
			left, right := r.connect(t)
			go right.Write(make([]byte, 50_000))
			wait.Go(func() {
				if _, err := io.ReadFull(left, make([]byte, 50_000)); err != nil {
					t.Error(err)
				}
				within(t, "a quarter", time.Since(start), 1600*time.Millisecond, 50*time.Millisecond)
			})
		}
		wait.Wait()
	})
}

func TestProxyBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Shape: Shape{Out: Lane{Rate: contact.GigabitPerSecond}}})
		left, right := r.connect(t)
		left.SetWriteDeadline(time.Now().Add(time.Hour))
		n, err := left.Write(make([]byte, 100<<20)) // and nobody reads
		if most := int(r.out.flight()) + maxQuantum; n > most || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			t.Errorf("took %d bytes that nobody read, want at most %d: %v", n, most, err)
		}
		right.Close()
	})
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func TestProxyEndOfStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Shape: Shape{Out: Lane{Rate: contact.MegabitPerSecond, Delay: time.Second}, Back: Lane{Delay: time.Second}}})
		left, right := r.connect(t)
		if _, err := left.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		left.Close()
		if got, err := io.ReadAll(right); err != nil || string(got) != "last words" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestProxyWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Shape: Shape{Out: Lane{Rate: 80 * contact.KilobitPerSecond, Delay: 100 * time.Millisecond}}})
		left, right := r.connect(t)
		writing := make(chan error, 1)
		go func() {
			_, err := left.Write(make([]byte, 100_000)) // ten seconds' worth
			writing <- err
		}()
		got := make(chan int, 1)
		go func() {
			n, _ := io.Copy(io.Discard, right)
			got <- int(n)
		}()
		time.Sleep(time.Second)
		r.setOpen(t, false)
		before, _ := r.Stats(t.Context())
		time.Sleep(time.Hour)
		select {
		case err := <-writing:
			t.Fatalf("the left end noticed the outage: %v", err)
		case n := <-got:
			t.Fatalf("the right end noticed the outage after %d bytes", n)
		default:
		}
		if after, _ := r.Stats(t.Context()); after != before {
			t.Errorf("bytes passed in the outage: %+v, then %+v", before, after)
		}
		if before.Out.Bytes < 9_000 || before.Out.Bytes > 11_000 {
			t.Errorf("%d bytes in the first second", before.Out.Bytes)
		}
		r.setOpen(t, true)
		if err := <-writing; err == nil {
			t.Error("the left end was not told")
		}
		// What was under way when the window ended is lost.
		if n := <-got; n < 8_000 || n > 9_500 {
			t.Errorf("%d bytes arrived", n)
		}
		if s, _ := r.Stats(t.Context()); s.Windows != 2 {
			t.Errorf("%d windows", s.Windows)
		}
		left, right = r.connect(t)
		go left.Write([]byte("again"))
		if _, err := io.ReadFull(right, make([]byte, 5)); err != nil {
			t.Errorf("in the second window: %v", err)
		}
	})
}

func TestProxyConnectionsOutsideWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Closed: true})
		early, err := r.left.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer early.Close()
		early.SetDeadline(time.Now().Add(time.Minute))
		if n, err := early.Write([]byte("hello")); n != 0 || !isTimeout(err) {
			t.Errorf("wrote %d bytes outside a window: %v", n, err)
		}
		early.SetDeadline(time.Time{})
		young, err := r.left.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer young.Close()
		time.Sleep(patience / 2)
		r.setOpen(t, true)
		right, err := r.right.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer right.Close()
		if _, err := early.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("an early connection: %v", err)
		}
		go young.Write([]byte("hi"))
		if _, err := io.ReadFull(right, make([]byte, 2)); err != nil {
			t.Errorf("a young connection: %v", err)
		}
	})
}

func TestProxyHoldsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Closed: true})
		var conns []net.Conn
		for range MaxConnections + 1 {
			c, err := r.left.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns = append(conns, c)
		}
		synctest.Wait()
		for i, c := range conns[:2] {
			c.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := c.Read(make([]byte, 1)); isTimeout(err) != (i > 0) {
				t.Errorf("connection %d: %v", i, err)
			}
		}
	})
}

// TestProxyWindowEndsWhileConnecting ends the window between the connection to the
// proxy and the one from it: neither end may notice before the next.
func TestProxyWindowEndsWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		left, err := r.left.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer left.Close()
		synctest.Wait() // the proxy connects to the right, where nobody accepts yet
		r.setOpen(t, false)
		right, err := r.right.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer right.Close()
		for _, end := range []net.Conn{left, right} {
			end.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := end.Read(make([]byte, 1)); !isTimeout(err) {
				t.Errorf("an end noticed the outage: %v", err)
			}
			end.SetReadDeadline(time.Time{})
		}
		r.setOpen(t, true)
		for _, end := range []net.Conn{left, right} {
			if _, err := end.Read(make([]byte, 1)); err == nil {
				t.Error("an end was not told of the outage after it")
			}
		}
	})
}

func TestProxyTargetAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.right.Close()
		left, err := r.left.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer left.Close()
		left.SetDeadline(time.Now().Add(time.Minute))
		if _, err := left.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestProxySet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Shape: Shape{Out: Lane{Rate: 80 * contact.KilobitPerSecond}}})
		left, right := r.connect(t)
		transfer := func() time.Duration {
			start := time.Now()
			go left.Write(make([]byte, 10_000))
			if _, err := io.ReadFull(right, make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		within(t, "slow", transfer(), time.Second, 20*time.Millisecond)
		if err := r.Set(t.Context(), Shape{Out: Lane{Rate: 800 * contact.KilobitPerSecond}}); err != nil {
			t.Fatal(err)
		}
		within(t, "fast", transfer(), 100*time.Millisecond, 10*time.Millisecond)
		if s, _ := r.Stats(t.Context()); (s.Out.Busy - 1100*time.Millisecond).Abs() > time.Millisecond {
			t.Errorf("busy for %v", s.Out.Busy)
		}
		for _, bad := range []Shape{{Out: Lane{Rate: MaxRate + 1}}, {Back: Lane{Delay: -1}}, {Back: Lane{Delay: MaxDelay + 1}}} {
			if err := r.Set(t.Context(), bad); err == nil {
				t.Errorf("took %+v", bad)
			}
		}
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		start := time.Now()
		if err := Cut(t.Context(), r, 12*time.Second); err != nil {
			t.Fatal(err)
		}
		within(t, "the cut", time.Since(start), 12*time.Second, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Cut(ctx, r, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up: %v", err)
		}
		if s, _ := r.Stats(t.Context()); s.Windows != 3 || !r.open {
			t.Errorf("left open %v after %d windows", r.open, s.Windows)
		}
		if err := r.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := Cut(t.Context(), r, time.Second); !errors.Is(err, ErrDown) {
			t.Errorf("once down: %v", err)
		}
	})
}

// TestProxyLoopback runs over real sockets: a transfer, an outage that the ends
// notice only when it is over, and the end of everything.
func TestProxyLoopback(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skipf("no loopback: %v", err)
	}
	defer target.Close()
	backend := ProxyBackend{}
	if err := backend.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	lane := Lane{Rate: 8 * contact.MegabitPerSecond, Delay: 5 * time.Millisecond}
	l, err := backend.Up(t.Context(), Config{Shape: Shape{Out: lane, Back: lane}, Target: target.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down(context.Background())
	connect := func() (left, right *net.TCPConn) {
		t.Helper()
		a, err := net.Dial("tcp", l.(*ProxyLink).Addr())
		if err != nil {
			t.Fatal(err)
		}
		b, err := target.Accept()
		if err != nil {
			t.Fatal(err)
		}
		a.SetDeadline(time.Now().Add(30 * time.Second))
		b.SetDeadline(time.Now().Add(30 * time.Second))
		return a.(*net.TCPConn), b.(*net.TCPConn)
	}
	left, right := connect()
	data := bytes.Repeat([]byte("satellite "), 50_000) // half a second's worth
	start := time.Now()
	go func() {
		left.Write(data)
		left.CloseWrite()
	}()
	got, err := io.ReadAll(right)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes arrived: %v", len(got), err)
	}
	if took := time.Since(start); took < 490*time.Millisecond {
		t.Errorf("%d bytes took only %v", len(got), took)
	} else {
		t.Logf("%d bytes took %v at %d bit/s", len(got), took, lane.Rate)
	}
	if _, err := right.Write([]byte("ok")); err != nil {
		t.Fatal(err)
	}
	right.Close()
	if answer, err := io.ReadAll(left); err != nil || string(answer) != "ok" {
		t.Errorf("answer %q, %v", answer, err)
	}
	left.Close()

	left, right = connect()
	defer left.Close()
	defer right.Close()
	if err := l.SetOpen(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := left.Write([]byte("lost")); err != nil {
		t.Errorf("writing in the outage: %v", err)
	}
	right.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := right.Read(make([]byte, 9)); !isTimeout(err) {
		t.Errorf("read %d bytes in the outage: %v", n, err)
	}
	right.SetReadDeadline(time.Now().Add(30 * time.Second))
	if err := l.SetOpen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if n, err := right.Read(make([]byte, 9)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("the right end after the outage: %d bytes, %v", n, err)
	}
	if n, err := left.Read(make([]byte, 9)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("the left end after the outage: %d bytes, %v", n, err)
	}
	a, b := connect()
	defer a.Close()
	defer b.Close()
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("once down: %v", err)
	}
}

func TestUpRefuses(t *testing.T) {
	if _, err := (ProxyBackend{}).Up(t.Context(), Config{}); err == nil {
		t.Error("a proxy without a target")
	}
	if _, err := (ProxyBackend{}).Up(t.Context(), Config{Target: "x:1", Shape: Shape{Out: Lane{Delay: -1}}}); err == nil {
		t.Error("a negative delay")
	}
	if _, err := (ProxyBackend{}).Up(t.Context(), Config{Target: "x:1", Listen: "nowhere"}); err == nil {
		t.Error("an address that cannot be")
	}
}
