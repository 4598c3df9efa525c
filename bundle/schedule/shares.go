package schedule

import (
	"errors"
	"fmt"

	"perigee/bundle"
)

// Limits of shares.
const (
	MaxTenants = 64 // beside everyone else
	MaxWeight  = 1000
)

// ErrShares is wrapped by every error about shares.
var ErrShares = errors.New("invalid shares")

// Tenant is somebody who shares the links of a node with others.
type Tenant struct {
	// Source is where the tenant's bundles come from: a node, with all of its
	// endpoints, or one endpoint.
	Source bundle.EID
	// Weight is how much of a link the tenant gets, beside others of equal priority
	// who wait as well: twice as many bytes as one with half the weight. At least 1.
	Weight int
}

// Shares says how a link is shared. The zero value gives no class a share and treats all
// sources alike. Use NewShares.
type Shares struct {
	// Classes is what bundles of each priority get of what is sent while they wait, in
	// percent, even if more urgent ones wait; bulk first. 0: only what those leave.
	Classes [classes]int
	// Tenants are those of Item.Tenant. The first one is everyone else.
	Tenants []Tenant

	numbers map[bundle.EID]int
}

// NewShares returns shares of some tenants. Everyone else has the weight 1. Its error
// wraps ErrShares.
func NewShares(percents [classes]int, tenants []Tenant) (Shares, error) {
	s := Shares{Classes: percents, Tenants: []Tenant{{Weight: 1}}, numbers: make(map[bundle.EID]int)}
	sum := 0
	for p, percent := range percents {
		if percent < 0 || percent > 100 {
			return s, fmt.Errorf("%w: %s bundles get %d percent; write 0 to 100", ErrShares, bundle.Priority(p), percent)
		}
		sum += percent
	}
	if sum > 100 {
		return s, fmt.Errorf("%w: the shares of all priorities are %d percent; write at most 100", ErrShares, sum)
	}
	if len(tenants) > MaxTenants {
		return s, fmt.Errorf("%w: %d tenants, more than the limit of %d", ErrShares, len(tenants), MaxTenants)
	}
	for _, t := range tenants {
		switch {
		case t.Source.IsNull() || !t.Source.IsSingleton():
			return s, fmt.Errorf("%w: %s is no source; write a node, such as ipn:3.0, or an endpoint, such as ipn:3.11", ErrShares, t.Source)
		case s.numbers[t.Source] != 0:
			return s, fmt.Errorf("%w: %s is there twice", ErrShares, t.Source)
		case t.Weight < 1 || t.Weight > MaxWeight:
			return s, fmt.Errorf("%w: the weight of %s is %d; write 1 to %d", ErrShares, t.Source, t.Weight, MaxWeight)
		}
		s.numbers[t.Source] = len(s.Tenants)
		s.Tenants = append(s.Tenants, t)
	}
	return s, nil
}

// TenantOf returns the number of the tenant whose bundles have a source: that of the
// endpoint, or else of its node, or else 0.
func (s *Shares) TenantOf(source bundle.EID) int {
	if n := s.numbers[source]; n != 0 {
		return n
	}
	return s.numbers[source.Node()]
}

// weight is that of a tenant.
func (s *Shares) weight(tenant int) uint64 {
	if tenant < len(s.Tenants) {
		return uint64(max(s.Tenants[tenant].Weight, 1))
	}
	return 1
}
