package dtn7

import (
	"fmt"
	"net"
	"strconv"

	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"github.com/dtn7/dtn7-go/pkg/cla"
	"github.com/dtn7/dtn7-go/pkg/discovery"
	"github.com/fxamacker/cbor/v2"
)

// Limits of a datagram of announcements.
const (
	maxAnnouncement  = 1500 // bytes
	maxAnnouncements = 16   // in one datagram
	maxNesting       = 8    // of CBOR; an endpoint ID of ipn is the deepest, with 4
)

// A Neighbour is a node that announced itself.
type Neighbour struct {
	Node    string // its node ID, as it says
	Address string // "host:port" where it takes MTCP sessions
}

// announcement is the datagram by which a node tells that it takes MTCP sessions at
// some ports.
func announcement(node bpv7.EndpointID, ports []int) (datagram []byte, err error) {
	defer recovered(&err)
	all := make([]discovery.Announcement, 0, len(ports))
	for _, port := range ports {
		all = append(all, discovery.Announcement{Type: cla.MTCP, Endpoint: node, Port: uint(port)})
	}
	datagram, err = discovery.MarshalAnnouncements(all)
	if err == nil && len(datagram) > maxAnnouncement {
		err = fmt.Errorf("%d ports take %d bytes, of which a datagram has %d; announce fewer", len(ports), len(datagram), maxAnnouncement)
	}
	return datagram, err
}

// wellformed is a decoder that only checks the form of a datagram: each length in it
// fits, so that dtn7-go makes room for no more than came.
func wellformed() (cbor.DecMode, error) {
	return cbor.DecOptions{
		MaxArrayElements: maxAnnouncements, MaxMapPairs: maxAnnouncements, MaxNestedLevels: maxNesting,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
	}.DecMode()
}

// neighbours reads a datagram that came from an address. It passes over what is not
// about MTCP.
func neighbours(form cbor.DecMode, datagram []byte, from net.IP) (found []Neighbour, err error) {
	if len(datagram) > maxAnnouncement {
		return nil, fmt.Errorf("announcement has more than %d bytes", maxAnnouncement)
	}
	if err := form.Wellformed(datagram); err != nil {
		return nil, fmt.Errorf("announcement is no CBOR that is taken: %w", err)
	}
	defer recovered(&err)
	all, err := discovery.UnmarshalAnnouncements(datagram)
	if err != nil {
		return nil, fmt.Errorf("announcement cannot be read: %w", err)
	}
	for _, a := range all {
		if a.Type == cla.MTCP && a.Endpoint.CheckValid() == nil && 0 < a.Port && a.Port <= 65535 {
			found = append(found, Neighbour{a.Endpoint.String(), net.JoinHostPort(from.String(), strconv.Itoa(int(a.Port)))})
		}
	}
	return found, nil
}
