package dtn7

import (
	"fmt"

	"github.com/dtn7/dtn7-go/pkg/bpv7"
)

// DefaultMaxBundle is the default of Config.MaxBundle, in bytes.
const DefaultMaxBundle = 16 << 20

// A Config says how sessions over dtn7-go's MTCP are held. Zero fields take their
// defaults.
type Config struct {
	// Peer is the node ID of the node that is dialed, as a URI, and the name of
	// the sessions that Dial opens. dtn7-go must be able to read it.
	Peer string

	// MaxBundle is the largest bundle sent, in bytes. Each takes several times as
	// much memory.
	MaxBundle int64
}

func (c Config) withDefaults() (Config, error) {
	if c.MaxBundle == 0 {
		c.MaxBundle = DefaultMaxBundle
	}
	if c.MaxBundle < 0 {
		return c, fmt.Errorf("dtn7 config: the largest bundle has %d bytes; the limit must be positive", c.MaxBundle)
	}
	return c, nil
}

// CheckNode tells why dtn7-go cannot read a node ID, as of every administrative
// endpoint ipn:N.0, and nil when it can.
func CheckNode(id string) error {
	_, err := endpoint(id)
	return err
}

func endpoint(id string) (e bpv7.EndpointID, err error) {
	defer recovered(&err)
	if e, err = bpv7.NewEndpointID(id); err != nil {
		return e, fmt.Errorf("dtn7-go cannot read the node ID %q: %w", id, err)
	}
	return e, nil
}
