package custody

// Refusal says why a node does not become custodian of a bundle. On the wire every
// refusal is the same disposition; the reason is for metrics, for people and for
// neighbours that exchange refusal details.
type Refusal uint8

// Reasons to refuse custody. RefusalNone is no refusal. There is no reason for a
// bundle that is held already: that is answered by an acceptance.
const (
	RefusalUnspecified     Refusal = 0
	RefusalStorage         Refusal = 4  // no room beyond what is kept free for other traffic
	RefusalDestination     Refusal = 5  // the destination cannot be understood
	RefusalNoRoute         Refusal = 6  // no contact from now on leads there
	RefusalNoTimelyContact Refusal = 7  // none leads there before the bundle expires
	RefusalBlock           Refusal = 8  // a block cannot be understood
	RefusalPolicy          Refusal = 9  // not from this custodian or source
	RefusalFragment        Refusal = 10 // a fragment, or a bundle that may become fragments
	RefusalIndexFull       Refusal = 11 // as many bundles in custody as are allowed
	RefusalLifetime        Refusal = 12 // too little lifetime is left
	RefusalNone            Refusal = 255
)

// Refusals is one more than the highest reason to refuse.
const Refusals = 13

// String names the reason as metrics and events do.
func (r Refusal) String() string {
	switch r {
	case RefusalUnspecified:
		return "unspecified"
	case RefusalStorage:
		return "depleted-storage"
	case RefusalDestination:
		return "destination-unintelligible"
	case RefusalNoRoute:
		return "no-route"
	case RefusalNoTimelyContact:
		return "no-timely-contact"
	case RefusalBlock:
		return "block-unintelligible"
	case RefusalPolicy:
		return "policy"
	case RefusalFragment:
		return "fragment"
	case RefusalIndexFull:
		return "custody-index-full"
	case RefusalLifetime:
		return "lifetime-too-short"
	case RefusalNone:
		return "none"
	}
	return "reserved"
}

// Excludes tells whether a neighbour that refuses for this reason is of no use for
// the bundle however long one waits.
func (r Refusal) Excludes() bool {
	switch r {
	case RefusalDestination, RefusalNoRoute, RefusalPolicy, RefusalFragment:
		return true
	}
	return false
}
