package app

import (
	"errors"
	"fmt"

	"perigee/bundle"
)

// Limits on registrations.
const (
	// MaxRegistrationName is the longest name of a registration in bytes.
	MaxRegistrationName = 64
	// MaxRegistrations is how many registrations a node has at most.
	MaxRegistrations = 256
)

// Registration is that of an application at a non-singleton endpoint, such as
// dtn://fleet/~news (RFC 9171 sections 3.1 and 4.2.5.1.1). The node in the endpoint's
// name need not be this one: whoever sends to the endpoint reaches the registrations of
// all nodes that the bundle comes to.
//
// Each registration gets a copy of every bundle for its endpoint that the node takes
// while it lasts, and acknowledges it on its own. It outlasts the client and the
// daemon, so that nothing is missed while the application is away, and ends with
// Unregister. Receivers with one registration share what comes for it.
type Registration struct {
	Endpoint bundle.EID `json:"endpoint"`
	// Name tells the applications of a node at one endpoint apart: up to
	// MaxRegistrationName letters, digits and "-._"; it may be empty.
	Name string `json:"name"`
}

// Check tells whether r can be registered. Its error wraps ErrRejected.
func (r Registration) Check() error {
	var err error
	switch {
	case r.Endpoint.IsSingleton():
		err = fmt.Errorf("%s is the endpoint of one node; registrations are at endpoints such as dtn://fleet/~news", r.Endpoint)
	case len(r.Endpoint.String()) > bundle.MaxEIDText/4:
		err = fmt.Errorf("endpoint has %d characters; the limit is %d", len(r.Endpoint.String()), bundle.MaxEIDText/4)
	case len(r.Name) > MaxRegistrationName:
		err = fmt.Errorf("name has %d characters; the limit is %d", len(r.Name), MaxRegistrationName)
	}
	for _, c := range r.Name {
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '.' && c != '_' {
			err = errors.Join(err, fmt.Errorf("name %q may have letters, digits, and -._ only", r.Name))
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%w: registration: %w", ErrRejected, err)
	}
	return nil
}

// String names r, as in "dtn://fleet/~news as ops".
func (r Registration) String() string {
	if r.Name == "" {
		return r.Endpoint.String()
	}
	return r.Endpoint.String() + " as " + r.Name
}

// Registered is a registration of a node.
type Registered struct {
	Registration
	Waiting int `json:"waiting"` // bundles that it has not acknowledged
}
