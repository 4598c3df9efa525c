package dtn7agent

import (
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// Messages of dtn7-go's WebSocket agent: an array of one of these codes and what
// belongs to it. All codes are below 24, so the head of a message has two bytes.
const (
	codeStatus          = 0 // a text: what went wrong, empty when nothing did
	codeRegister        = 1 // a text: an endpoint
	codeBundle          = 2 // a bundle
	codeSyscallRequest  = 3 // a text
	codeSyscallResponse = 4 // an array of a text and bytes

	arrayOfTwo  = 0x82
	messageHead = 2
)

// maxText is the longest text in a message, with its head, in bytes.
const maxText = 2048

// errMessage is what is no message of the protocol.
var errMessage = errors.New("this is no message of dtn7's WebSocket agent")

// readCode reads the head of a message.
func readCode(r io.Reader) (byte, error) {
	var head [messageHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, fmt.Errorf("%w: %w", errMessage, err)
	}
	if head[0] != arrayOfTwo || head[1] > codeSyscallResponse {
		return 0, fmt.Errorf("%w: it begins with %x", errMessage, head)
	}
	return head[1], nil
}

// readText reads the rest of a message, which is a text.
func readText(r io.Reader) (text string, err error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return "", err
	}
	if len(raw) > maxText {
		return "", fmt.Errorf("%w: its text has more than %d bytes", errMessage, maxText)
	}
	if err := cbor.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("%w: its text cannot be read: %w", errMessage, err)
	}
	return text, nil
}

// status is the message about an error, or about none.
func status(problem error) ([]byte, error) {
	text := ""
	if problem != nil {
		text = problem.Error()
	}
	return cbor.Marshal([]any{codeStatus, text})
}
