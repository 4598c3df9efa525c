package tcpcl

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	extensionItemFixed = 1 + 2 + 2
	flagCritical       = 0x01

	extensionTransferLength = 0x0001 // RFC 9174 section 5.2.5.1
)

// errExtensions says that an item list and its length disagree.
var errExtensions = errors.New("extension items disagree with the length of their list")

// An extensionItem is one item of a session or transfer extension list
// (RFC 9174 sections 4.8 and 5.2.5). Its value is a part of the parsed input.
type extensionItem struct {
	flags uint8
	kind  uint16
	value []byte
}

// cutExtensions takes the length of a list and its bytes from the front of b,
// without looking at the items.
func cutExtensions(b []byte) (list []byte, used int, err error) {
	if len(b) < 4 {
		return nil, 0, errShort
	}
	length := binary.BigEndian.Uint32(b)
	if length > maxExtensionsLength {
		return nil, 0, fmt.Errorf("extension items of %d bytes, at most %d: %w", length, maxExtensionsLength, errTooLong)
	}
	used = 4 + int(length)
	if len(b) < used {
		return nil, 0, errShort
	}
	return b[4:used], used, nil
}

// parseExtensionItem takes one item from the front of a list that is there in
// full; an item that reaches beyond the list is an error, not a want of more.
func parseExtensionItem(list []byte) (extensionItem, int, error) {
	if len(list) < extensionItemFixed {
		return extensionItem{}, 0, errExtensions
	}
	it := extensionItem{flags: list[0], kind: binary.BigEndian.Uint16(list[1:])}
	n := extensionItemFixed + int(binary.BigEndian.Uint16(list[3:]))
	if len(list) < n {
		return extensionItem{}, 0, errExtensions
	}
	it.value = list[extensionItemFixed:n]
	return it, n, nil
}

func (it extensionItem) critical() bool { return it.flags&flagCritical != 0 }

func (it extensionItem) append(b []byte) []byte {
	b = append(b, it.flags)
	b = binary.BigEndian.AppendUint16(b, it.kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(it.value)))
	return append(b, it.value...)
}

// appendExtensions appends a list of encoded items with its length before it.
func appendExtensions(b, list []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	return append(b, list...)
}

// checkSessionExtensions walks a list of session items, of which none is known:
// it fails when one is critical or the list is malformed.
func checkSessionExtensions(list []byte) error {
	for len(list) > 0 {
		it, n, err := parseExtensionItem(list)
		if err != nil {
			return err
		}
		if it.critical() {
			return fmt.Errorf("critical session extension %#04x is unknown here", it.kind)
		}
		list = list[n:]
	}
	return nil
}

// errTransferExtensions says that a transfer must be refused for its items.
var errTransferExtensions = errors.New("transfer extension items cannot be processed")

// transferLength walks a list of transfer items and returns the announced
// length, or known false when none is announced.
func transferLength(list []byte) (length uint64, known bool, err error) {
	for len(list) > 0 {
		it, n, err := parseExtensionItem(list)
		if err != nil {
			return 0, false, err
		}
		list = list[n:]
		switch {
		case it.kind == extensionTransferLength:
			if known || len(it.value) != 8 {
				return 0, false, errTransferExtensions
			}
			length, known = binary.BigEndian.Uint64(it.value), true
		case it.critical():
			return 0, false, errTransferExtensions
		}
	}
	return length, known, nil
}

// appendTransferLength appends a whole list that announces a length.
func appendTransferLength(b []byte, length uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, extensionItemFixed+8)
	b = append(b, flagCritical)
	b = binary.BigEndian.AppendUint16(b, extensionTransferLength)
	b = binary.BigEndian.AppendUint16(b, 8)
	return binary.BigEndian.AppendUint64(b, length)
}
