package tcpcl

import (
	"encoding/hex"
	"fmt"
	"strings"

	"perigee/convergence"
)

// The scenarios write one message as one word:
//
//	header/VERSION/FLAGS
//	init/KEEPALIVE/SEGMENT-MRU/TRANSFER-MRU/EXTENSIONS/NODE-ID
//	segment/FLAGS/ID/EXTENSIONS/DATA-LENGTH/DATA   EXTENSIONS only with START
//	ack/FLAGS/ID/TOTAL        refuse/REASON/ID     keepalive
//	term/FLAGS/REASON         reject/REASON/TYPE   hex/BYTES
//
// FLAGS and EXTENSIONS are hexadecimal, "-" for none; DATA is text, or x and
// hexadecimal; it may be cut short of DATA-LENGTH.

// compose encodes one word.
func compose(word string) ([]byte, error) {
	name, rest, _ := strings.Cut(word, "/")
	scan := func(format string, fields ...any) error {
		_, err := fmt.Sscanf(strings.ReplaceAll(rest, "/", " "), format, fields...)
		if err != nil {
			err = fmt.Errorf("%q: %w", word, err)
		}
		return err
	}
	switch name {
	case "header":
		var m contactHeader
		err := scan("%d %x", &m.version, &m.flags)
		return m.append(nil), err
	case "init":
		var m sessInit
		f := strings.SplitN(rest, "/", 5)
		if len(f) != 5 {
			return nil, fmt.Errorf("%q: want five fields", word)
		}
		_, err := fmt.Sscan(strings.Join(f[:3], " "), &m.keepalive, &m.segmentMRU, &m.transferMRU)
		m.extensions, m.nodeID = unhex(f[3]), []byte(f[4])
		return m.append(nil), err
	case "segment":
		return composeSegment(strings.SplitN(rest, "/", 5))
	case "ack":
		var m xferAck
		err := scan("%x %d %d", &m.flags, &m.id, &m.total)
		return m.append(nil), err
	case "refuse":
		var m xferRefuse
		err := scan("%d %d", &m.reason, &m.id)
		return m.append(nil), err
	case "keepalive":
		return keepalive{}.append(nil), nil
	case "term":
		var m sessTerm
		err := scan("%x %d", &m.flags, &m.reason)
		return m.append(nil), err
	case "reject":
		var m msgReject
		err := scan("%d %x", &m.reason, &m.header)
		return m.append(nil), err
	case "hex":
		return unhex(rest), nil
	}
	return nil, fmt.Errorf("%q: no such message", word)
}

func composeSegment(f []string) ([]byte, error) {
	if len(f) != 5 {
		return nil, fmt.Errorf("segment/%s: want five fields", strings.Join(f, "/"))
	}
	var m xferSegment
	if _, err := fmt.Sscanf(f[0], "%x", &m.flags); err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(f[1]+" "+f[3], &m.id, &m.dataLength); err != nil {
		return nil, err
	}
	m.extensions = unhex(f[2])
	data := []byte(f[4])
	if strings.HasPrefix(f[4], "x") {
		data = unhex(f[4][1:])
	}
	return append(m.append(nil), data...), nil
}

func unhex(s string) []byte {
	if s == "-" {
		return []byte{}
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func hexOr(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

// describe writes the first message of b as a word, and says how long it is:
// nothing when it is not there in full.
func describe(b []byte) (string, int) {
	if len(b) == 0 {
		return "", 0
	}
	if b[0] == contactMagic[0] {
		m, n, _ := parseContactHeader(b)
		return fmt.Sprintf("header/%d/%x", m.version, m.flags), n
	}
	switch b[0] {
	case typeSessInit:
		m, n, _ := parseSessInit(b)
		return fmt.Sprintf("init/%d/%d/%d/%s/%s", m.keepalive, m.segmentMRU, m.transferMRU, hexOr(m.extensions), m.nodeID), n
	case typeXferSegment:
		m, n, _ := parseXferSegment(b)
		if n == 0 || uint64(len(b)-n) < m.dataLength {
			return "", 0
		}
		end := n + int(m.dataLength)
		return fmt.Sprintf("segment/%x/%d/%s/%d/x%x", m.flags, m.id, hexOr(m.extensions), m.dataLength, b[n:end]), end
	case typeXferAck:
		m, n, _ := parseXferAck(b)
		return fmt.Sprintf("ack/%x/%d/%d", m.flags, m.id, m.total), n
	case typeXferRefuse:
		m, n, _ := parseXferRefuse(b)
		return fmt.Sprintf("refuse/%d/%d", m.reason, m.id), n
	case typeKeepalive:
		return "keepalive", 1
	case typeSessTerm:
		m, n, _ := parseSessTerm(b)
		return fmt.Sprintf("term/%x/%d", m.flags, m.reason), n
	case typeMsgReject:
		m, n, _ := parseMsgReject(b)
		return fmt.Sprintf("reject/%d/%x", m.reason, m.header), n
	}
	return "", 0
}

// describeEvent writes an event as a line.
func describeEvent(ev Event) string {
	switch ev.Kind {
	case EventBlocked:
		return "blocked"
	case EventSecure:
		return "secure"
	case EventEstablished:
		return "established"
	case EventStart:
		return fmt.Sprintf("start %d length %d", ev.Transfer, ev.Length)
	case EventData:
		if ev.End {
			return fmt.Sprintf("data %d %q end", ev.Transfer, ev.Data)
		}
		return fmt.Sprintf("data %d %q", ev.Transfer, ev.Data)
	case EventBroken:
		return fmt.Sprintf("broken %d: %s", ev.Transfer, ev.Reason)
	case EventDelivered:
		return fmt.Sprintf("delivered %d", ev.Transfer)
	case EventRefused:
		return fmt.Sprintf("refused %d: %s", ev.Transfer, convergence.RefuseReason(ev.Reason))
	case EventEnding:
		return "ending"
	case EventFailed:
		return "failed"
	}
	return "none"
}
