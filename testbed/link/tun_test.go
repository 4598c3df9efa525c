package link

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"perigee/bundle/contact"
)

func TestTunCommands(t *testing.T) {
	n := Namespace{"sat", "link0", netip.MustParseAddr("10.77.0.1")}
	var lines []string
	for _, c := range tunCommands(n, netip.MustParseAddr("10.77.0.2"), 9000) {
		lines = append(lines, strings.Join(c, " "))
	}
	const want = "ip -n sat link set lo up\n" +
		"ip -n sat addr add 10.77.0.1/30 dev link0\n" +
		"ip netns exec sat sysctl -q -e -w net.ipv6.conf.link0.disable_ipv6=1\n" +
		"ip -n sat link set dev link0 mtu 9000 txqueuelen 10000 up"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestTunReal sends packets over a real link: at its rate and with its delay, not in an
// outage, and again after it.
func TestTunReal(t *testing.T) {
	lane := Lane{Rate: 2 * contact.MegabitPerSecond, Delay: 20 * time.Millisecond}
	l := upReal(t, NewTun(nil), Config{Shape: Shape{Out: lane, Back: lane}, Left: "perigee-test-a", Right: "perigee-test-b", MTU: 1200})
	if l.Left().Name != "perigee-test-a" || l.Right().Name != "perigee-test-b" {
		t.Errorf("ends are named %s and %s", l.Left().Name, l.Right().Name)
	}
	const payload = 125_000 // half a second's worth
	took := transfer(t, l, payload)
	stats, err := l.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes took %v; %+v", payload, took, stats)
	if took < 500*time.Millisecond {
		t.Errorf("%d bytes took only %v", payload, took)
	}
	if f := stats.Out; f.Bytes < payload || f.Bytes > payload*3/2 || f.Packets < payload/1200 || f.Busy < 500*time.Millisecond || f.Cut+f.Lost+f.Refused != 0 {
		t.Errorf("stats %+v after %d bytes", stats, payload)
	}
	checkOutageUnnoticed(t, l)
	if stats, err = l.Stats(t.Context()); err != nil || stats.Windows != 2 || stats.Out.Cut == 0 {
		t.Errorf("stats after an outage %+v, %v", stats, err)
	}
	if err := l.Set(t.Context(), Shape{}); err != nil {
		t.Fatal(err)
	}
	if took := transfer(t, l, 1_000_000); took > 2*time.Second {
		t.Errorf("1 MB without a limit took %v", took)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{l.SetOpen(t.Context(), false), l.Set(t.Context(), Shape{})} {
		if !errors.Is(err, ErrDown) {
			t.Errorf("changing it once down: %v", err)
		}
	}
	if again, err := l.Stats(t.Context()); err != nil || again.Windows != 2 {
		t.Errorf("stats once down: %+v, %v", again, err)
	}
}

// TestTunSeed sends the same datagrams over two links with the same seed: the same ones
// arrive.
func TestTunSeed(t *testing.T) {
	c := Config{Shape: Shape{Out: Lane{Loss: Loss{Mean: 0.3, Burst: 2}}}, Seed: 7}
	first, second := arrivals(t, c), arrivals(t, c)
	if first != second || !strings.Contains(first, "-") || !strings.Contains(first, "x") {
		t.Errorf("arrived\n%s and\n%s", first, second)
	}
}

// arrivals sends datagrams and draws which of them arrive.
func arrivals(t *testing.T, c Config) string {
	l := upReal(t, NewTun(nil), c)
	var receiver net.PacketConn
	err := l.Right().Do(func() (err error) {
		receiver, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", netip.AddrPortFrom(l.Right().Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	var sender net.Conn
	err = l.Left().Do(func() (err error) {
		sender, err = new(net.Dialer).DialContext(t.Context(), "udp", receiver.LocalAddr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	const datagrams = 100
	marks := []byte(strings.Repeat("-", datagrams))
	for i := range byte(datagrams) {
		if _, err := sender.Write([]byte{i}); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, 1)
	for {
		receiver.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, _, err := receiver.ReadFrom(buffer); err != nil {
			if !isTimeout(err) {
				t.Error(err)
			}
			return string(marks)
		}
		marks[buffer[0]] = 'x'
	}
}

// TestTunInterfaceGone removes an interface under a link: it says so, and is taken down
// all the same.
func TestTunInterfaceGone(t *testing.T) {
	l := upReal(t, NewTun(nil), Config{})
	if _, err := RunCommand(t.Context(), "ip", "-n", l.Left().Name, "link", "del", l.Left().Device); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := l.Stats(t.Context())
		if errors.Is(err, unix.EBADFD) && strings.Contains(err.Error(), l.Left().Name) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("never failed as it should: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := l.SetOpen(t.Context(), false); !errors.Is(err, unix.EBADFD) {
		t.Errorf("cutting it: %v", err)
	}
}

// TestTunCleansUpAfterFailure fails every command of the making of a link in turn.
func TestTunCleansUpAfterFailure(t *testing.T) {
	if err := probeTun(); err != nil {
		t.Skipf("needs root and /dev/net/tun: %v", err)
	}
	for _, fail := range []string{"netns add perigee-test-d", "alias", "addr add", "lo up", "sysctl", "dev link0 mtu"} {
		run := func(ctx context.Context, name string, args ...string) ([]byte, error) {
			line := strings.Join(append([]string{name}, args...), " ")
			if strings.Contains(line, fail) && strings.Contains(line, "perigee-test-d") {
				return nil, errRefused
			}
			return RunCommand(ctx, name, args...)
		}
		_, err := NewTun(run).Up(t.Context(), Config{Left: "perigee-test-c", Right: "perigee-test-d"})
		if !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", fail, err)
		}
		there, err := namespaces(t.Context(), RunCommand)
		if err != nil || there["perigee-test-c"] || there["perigee-test-d"] {
			t.Errorf("%s: left over %v, %v", fail, there, err)
		}
	}
	if _, err := NewTun(func(context.Context, string, ...string) ([]byte, error) { return nil, nil }).Up(t.Context(), Config{}); err == nil {
		t.Error("made a link of namespaces that are not there")
	}
}

// TestNamespaceDo checks that what follows is where it was before.
func TestNamespaceDo(t *testing.T) {
	l := upReal(t, NewTun(nil), Config{})
	see := func() (found bool) {
		devices, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range devices {
			found = found || d.Name == tunDevice
		}
		return found
	}
	if err := l.Left().Do(func() error {
		if !see() {
			return errors.New("the interface of the link is not there")
		}
		return io.EOF
	}); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	for range 100 {
		if see() {
			t.Fatal("a thread stayed in the namespace")
		}
	}
	if err := (Namespace{Name: "perigee-test-none"}).Do(func() error { t.Error("ran"); return nil }); err == nil {
		t.Error("entered a namespace that is not there")
	}
	out, err := l.Right().Command(t.Context(), "ip", "-o", "-4", "addr", "show", "dev", tunDevice).CombinedOutput()
	if err != nil || !strings.Contains(string(out), tunRight+"/30") {
		t.Errorf("a command at the right end saw %s, %v", out, err)
	}
}
