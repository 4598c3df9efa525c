package link

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// drainMost is how many packets are taken in before those are looked at that
	// have become due meanwhile.
	drainMost = 16
	// turnsMost is how often a carrier looks at both before it lets others in.
	turnsMost = 8
	// grain is the shortest sleep: what is due within one goes out together, a
	// little late, since waking up costs more than a packet does.
	grain = 50 * time.Microsecond
	// priority among the threads with real-time scheduling, 1 to 99.
	priority = 20
)

// carrier carries packets from one end of a link to the other, through a pipe, on a
// thread of its own.
type carrier struct {
	from, to *tunEnd
	now      func() time.Duration
	wake     int // an event file: something about the pipe has changed

	mu   sync.Mutex // guards all below
	pipe *pipe
	over bool  // it is to end
	err  error // why it has ended by itself
}

func newCarrier(from, to *tunEnd, p *pipe, now func() time.Duration) (*carrier, error) {
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an event file: %w", err)
	}
	return &carrier{from: from, to: to, pipe: p, now: now, wake: wake}, nil
}

// run carries packets until it is told to stop.
func (k *carrier) run() {
	// Not unlocked: the thread goes with the goroutine, since no other should have
	// its scheduling.
	runtime.LockOSThread()
	hurry()
	buffer := make([]byte, MaxMTU)
	for {
		wait, busy, err := k.carry(buffer)
		if err != nil {
			k.fail(err)
			return
		}
		if k.ended() {
			return
		}
		if busy {
			continue
		}
		if err := k.sleep(wait); err != nil {
			k.fail(err)
			return
		}
	}
}

// hurry asks for timers that are exact, and to be run as soon as there is something to
// do. What is refused is done without.
func hurry() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	_ = unix.SchedSetAttr(0, &attr, 0)
}

// carry hands out what is due and takes in what is there. Unless busy, there is nothing
// more to do within wait, which is negative for ever.
func (k *carrier) carry(buffer []byte) (wait time.Duration, busy bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range turnsMost {
		if err := k.handOut(); err != nil {
			return 0, false, err
		}
		more, err := k.takeIn(buffer)
		if err != nil {
			return 0, false, err
		}
		at, ok := k.pipe.next()
		now := k.now()
		switch {
		case more || ok && at <= now:
			continue
		case ok:
			return at - now, false, nil
		}
		return -1, false, nil
	}
	return 0, true, nil
}

// handOut writes the packets that have arrived. The mutex is held.
func (k *carrier) handOut() error {
	for {
		now := k.now()
		p := k.pipe.pop(now)
		if p == nil {
			return nil
		}
		ok, err := k.to.write(p.data)
		if !ok {
			k.pipe.flow.Refused++
		}
		k.pipe.flow.Late = max(k.pipe.flow.Late, now-p.arrives)
		k.pipe.memory.give(p)
		if err != nil {
			return err
		}
	}
}

// takeIn reads packets. It tells whether there may be more. The mutex is held.
func (k *carrier) takeIn(buffer []byte) (more bool, err error) {
	for range drainMost {
		n, err := k.from.read(buffer)
		if err != nil || n == 0 {
			return false, err
		}
		k.pipe.offer(k.now(), buffer[:n])
	}
	return true, nil
}

// sleep waits until a packet comes, the pipe changes or the time is over.
func (k *carrier) sleep(wait time.Duration) error {
	files := []unix.PollFd{{Fd: int32(k.from.file), Events: unix.POLLIN}, {Fd: int32(k.wake), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	if wait >= 0 {
		t := unix.NsecToTimespec(max(wait, grain).Nanoseconds())
		timeout = &t
	}
	_, err := unix.Ppoll(files, timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("waiting for packets: %w", err)
	}
	if files[1].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(k.wake, count[:]) // empty if another signal came between
	}
	return nil
}

func (k *carrier) ended() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over
}

func (k *carrier) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = fmt.Errorf("carrying packets from %s to %s: %w", k.from.name, k.to.name, err)
}

// with changes something about the pipe. It returns why the carrier has ended, if it
// has.
func (k *carrier) with(change func(*pipe)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k.pipe)
	k.ring()
	return k.err
}

func (k *carrier) stats() (Flow, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pipe.stats(k.now()), k.err
}

// stop tells the carrier to end.
func (k *carrier) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	k.ring()
}

// ring wakes the carrier. The mutex is held.
func (k *carrier) ring() {
	_, _ = unix.Write(k.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full is rung too
}

// close gives back what a carrier holds that has ended.
func (k *carrier) close() error {
	if err := unix.Close(k.wake); err != nil {
		return fmt.Errorf("closing an event file: %w", err)
	}
	return nil
}
