package tcpcl

import (
	"errors"
	"net"
	"sync/atomic"
)

// A wire is the transport under a session, and under TLS. It counts bytes, and
// writes in full: a write that a deadline cut short could not be taken up by TLS.
type wire struct {
	net.Conn
	in, out atomic.Uint64

	// writes, once a session runs, sets a deadline for each attempt to write,
	// and says whether to go on after one that wrote n bytes.
	writes interface {
		beforeWrite() error
		wrote(n int, err error) (again bool)
	}
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.in.Add(uint64(n))
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	written := 0
	for {
		if w.writes != nil {
			if err := w.writes.beforeWrite(); err != nil {
				return written, err
			}
		}
		n, err := w.Conn.Write(b[written:])
		written += n
		w.out.Add(uint64(n))
		if w.writes == nil || !w.writes.wrote(n, err) || err == nil {
			return written, err
		}
	}
}

// errNoHalf says that a transport cannot close its writing half alone.
var errNoHalf = errors.New("transport has no halves")

// CloseWrite closes the writing half.
func (w *wire) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errNoHalf
}
