package bundle

import "fmt"

// Priority is a bundle's class of service, the higher the more urgent. It
// travels in a private extension block that nodes without it pass through.
type Priority uint8

// Classes of service.
const (
	PriorityBulk      Priority = 0
	PriorityNormal    Priority = 1
	PriorityExpedited Priority = 2
)

// String names the class.
func (p Priority) String() string {
	switch p {
	case PriorityBulk:
		return "bulk"
	case PriorityNormal:
		return "normal"
	case PriorityExpedited:
		return "expedited"
	}
	return fmt.Sprintf("priority(%d)", uint8(p))
}

// MarshalText implements encoding.TextMarshaler.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Priority) UnmarshalText(text []byte) error {
	for _, known := range []Priority{PriorityBulk, PriorityNormal, PriorityExpedited} {
		if string(text) == known.String() {
			*p = known
			return nil
		}
	}
	return fmt.Errorf("priority %q is none of bulk, normal, expedited", text)
}

// PriorityBlock returns a priority block with block number n that says a priority alone.
func PriorityBlock(n uint64, p Priority) Block { return ClassBlock(n, Class{Priority: p}) }

// Priority returns the class of service that b asks for. A bundle that does not
// say, or not in a way that can be read, is PriorityNormal.
func (b *Bundle) Priority() Priority { return b.Class().Priority }
