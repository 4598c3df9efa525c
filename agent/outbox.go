package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"perigee/agent/durable"
	"perigee/agent/mail"
	"perigee/bundle/app"
)

// keepRejected is how many payloads that the node will never take are kept.
const keepRejected = 16

// letter is one payload that waits for the node. Its file name is
// KEY-SAMPLES.cbor, or KEY-SAMPLES.vVALUE.cbor when it has a value, so that what it
// holds is known without opening it.
type letter struct {
	key     string
	samples int
	value   uint64 // of the bundle
	size    int64
	serial  uint64 // tells it from another of the same key, once it is queued
}

func (l letter) name() string {
	if l.value == 0 {
		return fmt.Sprintf("%s-%d.cbor", l.key, l.samples)
	}
	return fmt.Sprintf("%s-%d.v%d.cbor", l.key, l.samples, l.value)
}

func parseLetter(name string) (l letter, ok bool) {
	base, ok := strings.CutSuffix(name, ".cbor")
	var err error
	if rest, value, valued := strings.Cut(base, ".v"); valued {
		base = rest
		if l.value, err = strconv.ParseUint(value, 10, 64); err != nil {
			return letter{}, false
		}
	}
	at := strings.LastIndexByte(base, '-')
	if !ok || at < 1 {
		return letter{}, false
	}
	l.key = base[:at]
	l.samples, err = strconv.Atoi(base[at+1:])
	return l, err == nil && l.samples >= 0
}

// outbox is a folder of payloads on their way to the node, sent in order of
// their keys. A payload leaves it once the node has made it durable; one that
// the process was killed over is sent again.
type outbox struct {
	dir    string
	disk   durable.Disk
	client app.Client
	out    app.Outgoing // of every payload
	wait   mail.Backoff
	log    *slog.Logger

	wake chan struct{} // a letter was added
	room chan struct{} // a letter left

	mu      sync.Mutex // guards what follows
	letters []letter
	serial  uint64 // of the letter queued last
}

// newOutbox opens the folder at dir. keep says which of the letters found there
// are sent; the others are removed.
func newOutbox(dir string, disk durable.Disk, keep func(letter) bool) (*outbox, error) {
	names, err := disk.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	o := &outbox{dir: dir, disk: disk, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	for _, name := range names {
		l, ok := parseLetter(name)
		if !ok {
			continue
		}
		path := filepath.Join(dir, name)
		if keep != nil && !keep(l) {
			if err := disk.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("open outbox: %w", err)
		}
		l.size = info.Size()
		o.letters = append(o.letters, l)
	}
	return o, nil
}

// write makes a payload durable in the folder. It is sent only after add.
func (o *outbox) write(key string, samples int, data []byte) (letter, error) {
	return o.writeValued(key, samples, 0, data)
}

// writeValued is write for a payload that has a value.
func (o *outbox) writeValued(key string, samples int, value uint64, data []byte) (letter, error) {
	l := letter{key: key, samples: samples, value: value, size: int64(len(data))}
	return l, o.disk.Write(filepath.Join(o.dir, l.name()), data)
}

// add queues a written letter. One of the same key takes its place.
func (o *outbox) add(l letter) {
	o.mu.Lock()
	o.serial++
	l.serial = o.serial
	o.letters = slices.DeleteFunc(o.letters, func(have letter) bool { return have.key == l.key })
	at, _ := slices.BinarySearchFunc(o.letters, l.key, func(have letter, key string) int { return cmp.Compare(have.key, key) })
	o.letters = slices.Insert(o.letters, at, l)
	o.mu.Unlock()
	signal(o.wake)
}

// pending returns what waits: letters, samples in them and bytes.
func (o *outbox) pending() (letters, samples int, size int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.letters {
		samples += l.samples
		size += l.size
	}
	return len(o.letters), samples, size
}

// waitRoom waits until fewer than limit bytes wait.
func (o *outbox) waitRoom(ctx context.Context, limit int64) error {
	for {
		if _, _, size := o.pending(); size < limit {
			return nil
		}
		select {
		case <-o.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run sends until ctx ends. It returns an error when the disk fails or the
// client is closed.
func (o *outbox) run(ctx context.Context) error {
	for {
		l, ok := o.first()
		if !ok {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := o.send(ctx, l)
		switch {
		case err == nil:
			o.wait.Reset()
			o.drop(l)
			signal(o.room)
		case ctx.Err() != nil:
			return ctx.Err()
		case mail.IsPassing(err):
			o.log.Info("node does not take the payload now; trying again", "payload", l.key, "err", err)
			if err := o.wait.Wait(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func (o *outbox) first() (letter, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.letters) == 0 {
		return letter{}, false
	}
	return o.letters[0], true
}

// drop takes l out of the queue, unless another took its place.
func (o *outbox) drop(l letter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.letters = slices.DeleteFunc(o.letters, func(have letter) bool { return have == l })
}

// send hands one letter to the node and removes its file.
func (o *outbox) send(ctx context.Context, l letter) error {
	path := filepath.Join(o.dir, l.name())
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another letter of the same key was just sent
	}
	if err != nil {
		return fmt.Errorf("send %s: %w", l.key, err)
	}
	out := o.out
	out.Payload, out.Length, out.Value = f, l.size, l.value
	id, err := o.client.Send(ctx, out)
	err = errors.Join(err, f.Close())
	if errors.Is(err, app.ErrRejected) {
		o.log.Error("node rejects the payload for good; it is kept aside", "payload", l.key, "err", err)
		return o.setAside(path)
	}
	if err != nil {
		return fmt.Errorf("send %s to %v: %w", l.key, o.out.To, err)
	}
	o.log.Info("payload handed to the node", "payload", l.key, "bundle", id, "to", o.out.To, "size", l.size)
	return o.disk.Remove(path)
}

// setAside moves a payload that cannot be sent to a folder of its own, which
// holds the last few.
func (o *outbox) setAside(path string) error {
	dir := o.dir + ".rejected"
	if err := o.disk.MkdirAll(dir); err != nil {
		return err
	}
	names, err := durable.Names(dir)
	if err != nil {
		return err
	}
	for ; len(names) >= keepRejected; names = names[1:] {
		if err := o.disk.Remove(filepath.Join(dir, names[0])); err != nil {
			return err
		}
	}
	return o.disk.Rename(path, filepath.Join(dir, filepath.Base(path)))
}

// signal wakes the one who waits on c, now or at its next wait.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
