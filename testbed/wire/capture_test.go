package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// The example of RFC 1071 section 3.
func TestChecksum(t *testing.T) {
	if got, want := checksum(0, []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}), ^uint16(0xddf2); got != want {
		t.Errorf("checksum is %#04x, want %#04x", got, want)
	}
	if got, want := checksum(0, []byte{0xff}), ^uint16(0xff00); got != want {
		t.Errorf("checksum of an odd byte is %#04x, want %#04x", got, want)
	}
}

// What goes over a connection is in the packets, in order and with right checksums.
func TestCaptureTCP(t *testing.T) {
	var file bytes.Buffer
	c := NewCapture(&file)
	near, far := net.Pipe()
	one, two := netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddrPort("192.0.2.2:4556")
	at := time.Unix(1_800_000_000, 5_000)
	conn := CaptureTCP(near, c, one, two, func() time.Time { return at })
	question, answer := bytes.Repeat([]byte("question "), 500), []byte("answer")
	var peer sync.WaitGroup
	peer.Go(func() {
		_, _ = io.ReadFull(far, make([]byte, len(question)))
		_, _ = far.Write(answer)
	})
	if _, err := conn.Write(question); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len(answer))); err != nil {
		t.Fatal(err)
	}
	peer.Wait()
	conn.Close()
	conn.Close()
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	there, back, packets := replay(t, file.Bytes(), one)
	if !bytes.Equal(there, question) || !bytes.Equal(back, answer) {
		t.Errorf("captured %d bytes there and %d back, want %d and %d", len(there), len(back), len(question), len(answer))
	}
	if packets != 3+4+1+3 {
		t.Errorf("captured %d packets, want 11", packets)
	}
}

// replay reads a capture and returns what each end sent.
func replay(t *testing.T, b []byte, near netip.AddrPort) (there, back []byte, packets int) {
	t.Helper()
	for b = b[24:]; len(b) > 0; packets++ {
		if s, us := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]); s != 1_800_000_000 || us != 5 {
			t.Errorf("packet %d is of %d.%06d", packets, s, us)
		}
		size := binary.LittleEndian.Uint32(b[8:])
		ip := b[16 : 16+size]
		b = b[16+size:]
		if checksum(0, ip[:ipHeader]) != 0 {
			t.Errorf("packet %d has a wrong IP checksum", packets)
		}
		from, to := netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		tcp := ip[ipHeader:]
		if checksum(pseudoHeader(from, to, tcpProtocol, len(tcp)), tcp) != 0 {
			t.Errorf("packet %d has a wrong TCP checksum", packets)
		}
		if from == near.Addr() {
			there = append(there, tcp[tcpHeader:]...)
		} else {
			back = append(back, tcp[tcpHeader:]...)
		}
	}
	return there, back, packets
}
