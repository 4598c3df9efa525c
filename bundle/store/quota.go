package store

import (
	"fmt"

	"perigee/bundle"
)

// DefaultCustodyPercent is the share of a quota that bundles in custody may take.
// A custodian cannot drop what it has taken on, so without a share kept free a
// node full of custody could neither pass on other bundles nor the signals that
// would let it free itself.
const DefaultCustodyPercent = 90

// Classes is the number of priorities that have a share of their own.
const Classes = int(bundle.PriorityExpedited) + 1

// Shares say how much of a quota some bundles may take, in percent.
type Shares struct {
	// Custody is for bundles in this node's custody; 0 stands for
	// DefaultCustodyPercent.
	Custody int
	// Priority is for the bundles of each bundle.Priority; 0 stands for all of
	// the quota. Administrative records are taken beyond it.
	Priority [Classes]int
}

// Quota limits the bytes of bundles in a store.
type Quota struct {
	// Bytes is the most that all bundles may take together, those included that
	// are on their way in; 0 means no limit, and then shares mean nothing.
	Bytes int64
	Shares
}

// Usage is how many bytes of bundles a store holds, by what Quota tells apart.
type Usage struct {
	Bytes    int64
	Custody  int64
	Priority [Classes]int64
}

// Add counts the bundle of r, or takes it off when sign is -1.
func (u *Usage) Add(r *Record, sign int64) {
	u.Bytes += sign * r.Size
	if r.Custodial {
		u.Custody += sign * r.Size
	}
	u.Priority[class(r)] += sign * r.Size
}

// Plus returns the sum of u and o.
func (u Usage) Plus(o Usage) Usage {
	u.Bytes += o.Bytes
	u.Custody += o.Custody
	for i, n := range o.Priority {
		u.Priority[i] += n
	}
	return u
}

func class(r *Record) bundle.Priority { return min(r.Priority, bundle.PriorityExpedited) }

// CustodyBytes is the most that bundles in custody may take, in bytes.
func (q Quota) CustodyBytes() int64 { return q.share(percentOr(q.Custody, DefaultCustodyPercent)) }

func (q Quota) share(percent int) int64 {
	return q.Bytes/100*int64(percent) + q.Bytes%100*int64(percent)/100
}

func percentOr(percent, normal int) int {
	if percent <= 0 {
		return normal
	}
	return min(percent, 100)
}

// Fits tells whether n more bytes are within the quota, whatever their shares.
func (q Quota) Fits(used, n int64) bool { return q.Bytes <= 0 || n <= q.Bytes-used }

// AdmitPut tells whether the shares leave room for the bundle of r beside what u
// counts. Its error wraps ErrQuota and names the share.
func (q Quota) AdmitPut(u Usage, r *Record) error {
	if err := q.AdmitCustody(u, r); err != nil {
		return err
	}
	if q.Bytes <= 0 || r.Flags&bundle.FlagAdminRecord != 0 {
		return nil
	}
	p := class(r)
	percent := percentOr(q.Priority[p], 100)
	return q.admit(u.Priority[p], r.Size, percent, "bundles of priority "+p.String())
}

// AdmitCustody tells whether the share for custody leaves room for the bundle of r.
// Its error wraps ErrQuota.
func (q Quota) AdmitCustody(u Usage, r *Record) error {
	if q.Bytes <= 0 || !r.Custodial {
		return nil
	}
	return q.admit(u.Custody, r.Size, percentOr(q.Custody, DefaultCustodyPercent), "bundles in custody")
}

func (q Quota) admit(used, n int64, percent int, what string) error {
	if limit := q.share(percent); n > limit-used {
		return fmt.Errorf("%w: %s may take %d bytes (%d%% of %d), hold %d, and this one has %d",
			ErrQuota, what, limit, percent, q.Bytes, used, n)
	}
	return nil
}
