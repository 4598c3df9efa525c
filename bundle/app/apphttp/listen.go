package apphttp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// DefaultMode lets the daemon's user and group talk to it.
const DefaultMode fs.FileMode = 0o660

// maxSocketPath is the longest path that fits a socket address on Linux, less
// the suffix that the socket has while it is made.
const maxSocketPath = 107 - len(newSuffix)

const newSuffix = ".new"

// Listen binds the Unix socket at path with the given permissions, DefaultMode
// when mode is zero. Clients never meet the socket with other permissions. A socket
// that nobody answers on is replaced; one that answers, and anything that is no
// socket, is left alone and an error. Closing the listener removes the socket.
func Listen(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if mode == 0 {
		mode = DefaultMode
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listening on socket %s: the path has %d bytes and the limit is %d; choose a shorter one",
			path, len(path), maxSocketPath)
	}
	if err := checkFree(ctx, path); err != nil {
		return nil, fmt.Errorf("listening on socket %s: %w", path, err)
	}
	fresh := path + newSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listening on socket %s: removing a leftover: %w", path, err)
	}
	var config net.ListenConfig
	inner, err := config.Listen(ctx, "unix", fresh)
	if err != nil {
		return nil, fmt.Errorf("listening on socket %s: %w", path, err)
	}
	inner.(*net.UnixListener).SetUnlinkOnClose(false)
	l := &listener{Listener: inner, path: path}
	if l.info, err = publish(fresh, path, mode); err != nil {
		err = fmt.Errorf("listening on socket %s: %w", path, err)
		return nil, errors.Join(err, inner.Close(), removeIfThere(fresh))
	}
	return l, nil
}

// publish gives the socket its permissions and then its name.
func publish(fresh, path string, mode fs.FileMode) (fs.FileInfo, error) {
	if err := os.Chmod(fresh, mode); err != nil {
		return nil, fmt.Errorf("setting its permissions: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return nil, fmt.Errorf("naming it: %w", err)
	}
	return os.Lstat(path)
}

// checkFree tells whether path may be taken.
func checkFree(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is something that is no socket; move it away or choose another path")
	}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("a daemon already answers there; stop it or choose another path")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("there is a socket that cannot be probed: %w", err)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// listener removes its socket when it closes, unless another daemon has put its
// own in the place.
type listener struct {
	net.Listener
	path string
	info fs.FileInfo
}

func (l *listener) Close() error {
	info, err := os.Lstat(l.path)
	if err == nil && os.SameFile(info, l.info) {
		err = removeIfThere(l.path)
	} else {
		err = nil
	}
	return errors.Join(l.Listener.Close(), err)
}
