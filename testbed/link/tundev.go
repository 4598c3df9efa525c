package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tunEnd is this process's side of a TUN interface in a namespace: what the kernel
// sends there is read here. The interface goes when the file is closed, also with the
// process.
type tunEnd struct {
	name string // of the namespace
	file int
}

// openTun makes the TUN interface of a namespace.
func openTun(n Namespace) (*tunEnd, error) {
	end := &tunEnd{name: n.Name, file: -1}
	// An interface belongs to the namespace in which its file was opened.
	err := n.Do(func() error {
		const path = "/dev/net/tun"
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening %s: %w", path, err)
		}
		request, err := unix.NewIfreq(n.Device)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			_ = unix.Close(fd) // nothing has been made
			return fmt.Errorf("making interface %s in network namespace %s: %w", n.Device, n.Name, err)
		}
		end.file = fd
		return nil
	})
	if err != nil {
		return nil, err
	}
	return end, nil
}

// read reads a packet. It returns 0 when there is none.
func (e *tunEnd) read(buffer []byte) (int, error) {
	for {
		n, err := unix.Read(e.file, buffer)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		}
		return 0, fmt.Errorf("reading from the interface in network namespace %s, which may be gone: %w", e.name, err)
	}
}

// write writes a packet. It tells whether the kernel took it: it takes none that is
// no packet of IP, or while the interface is down.
func (e *tunEnd) write(packet []byte) (ok bool, err error) {
	for {
		_, err := unix.Write(e.file, packet)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EBADFD):
			return false, fmt.Errorf("writing to the interface in network namespace %s, which is gone: %w", e.name, err)
		}
		return false, nil
	}
}

func (e *tunEnd) close() error {
	if err := unix.Close(e.file); err != nil {
		return fmt.Errorf("closing the interface in network namespace %s: %w", e.name, err)
	}
	return nil
}
