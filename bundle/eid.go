package bundle

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Scheme is the URI scheme of an endpoint ID, by its code number (RFC 9171
// section 9.7).
type Scheme uint8

// Endpoint ID schemes.
const (
	SchemeDTN Scheme = 1
	SchemeIPN Scheme = 2
)

// Limits on endpoint IDs.
const (
	// MaxEIDText is the longest scheme-specific part of a dtn EID in bytes.
	MaxEIDText = 1024
	// LocalNode is the ipn node number that stands for the node itself and
	// must not leave it (RFC 9758 section 3.4.2).
	LocalNode = math.MaxUint32
)

// ErrEID is wrapped by every error about a malformed endpoint ID.
var ErrEID = errors.New("malformed endpoint ID")

// errNoDelimiter is the only fault of a dtn EID that ends with its node name.
var errNoDelimiter = errors.New(`no "/" after the node name`)

// EID is an endpoint ID (RFC 9171 section 4.2.5.1, RFC 9758). It is a value:
// two EIDs that name the same endpoint are equal with ==, whatever form they
// had on the wire. The zero EID is the null endpoint dtn:none.
type EID struct {
	ipn     bool
	node    uint64 // ipn: allocator<<32 | node number
	service uint64 // ipn
	ssp     string // dtn: scheme-specific part "//node/demux"; empty for dtn:none
}

// IPN returns ipn:node.service. The node number may be fully qualified,
// allocator<<32 | number (RFC 9758 section 3.3). ipn:0.0 is the null endpoint and
// equal to dtn:none. ipn:0.s is malformed for s > 0 and is the caller's mistake;
// use ParseEID for input.
func IPN(node, service uint64) EID {
	if node == 0 && service == 0 {
		return EID{}
	}
	return EID{ipn: true, node: node, service: service}
}

// DTN returns dtn://node/demux. The parts must be valid; use ParseEID for input.
func DTN(node, demux string) EID { return EID{ssp: "//" + node + "/" + demux} }

// ParseEID reads an endpoint ID from its URI, such as "ipn:3.11",
// "ipn:977000.3.11", "ipn:!.7", "dtn://sat-17/models" or "dtn:none". Its error
// wraps ErrEID.
func ParseEID(s string) (EID, error) {
	scheme, ssp, ok := strings.Cut(s, ":")
	if !ok {
		return EID{}, fmt.Errorf("%w: %q has no scheme; write ipn:NODE.SERVICE or dtn://NODE/NAME", ErrEID, s)
	}
	switch scheme {
	case "dtn":
		if ssp == "none" {
			return EID{}, nil
		}
		if err := checkDTN(ssp); err != nil {
			return EID{}, fmt.Errorf("%w: %q: %w", ErrEID, s, err)
		}
		return EID{ssp: ssp}, nil
	case "ipn":
		e, err := parseIPN(ssp)
		if err != nil {
			return EID{}, fmt.Errorf("%w: %q: %w", ErrEID, s, err)
		}
		return e, nil
	}
	return EID{}, fmt.Errorf("%w: %q: scheme %q is neither ipn nor dtn", ErrEID, s, scheme)
}

func parseIPN(ssp string) (EID, error) {
	if rest, ok := strings.CutPrefix(ssp, "!."); ok {
		service, err := ipnNumber(rest)
		if err != nil {
			return EID{}, err
		}
		return IPN(LocalNode, service), nil
	}
	parts := strings.Split(ssp, ".")
	if len(parts) != 2 && len(parts) != 3 {
		return EID{}, errors.New("ipn takes two or three numbers, NODE.SERVICE or ALLOCATOR.NODE.SERVICE")
	}
	numbers := make([]uint64, len(parts))
	for i, p := range parts {
		n, err := ipnNumber(p)
		if err != nil {
			return EID{}, err
		}
		numbers[i] = n
	}
	if len(numbers) == 2 {
		return makeIPN(0, numbers[0], numbers[1])
	}
	return makeIPN(numbers[0], numbers[1], numbers[2])
}

func ipnNumber(s string) (uint64, error) {
	if len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("number %q has leading zeros", s)
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a number below 2^32", s)
	}
	return n, nil
}

// makeIPN checks the three numbers of an ipn EID (RFC 9758 sections 3.2 to 3.4).
func makeIPN(allocator, node, service uint64) (EID, error) {
	switch {
	case allocator > math.MaxUint32 || node > math.MaxUint32 || service > math.MaxUint32:
		return EID{}, errors.New("ipn numbers must be below 2^32")
	case allocator == 0 && node == 0 && service != 0:
		return EID{}, errors.New("node 0 is the null endpoint and has no service but 0")
	}
	return IPN(allocator<<32|node, service), nil
}

// checkDTN checks the scheme-specific part of a dtn EID other than none:
// "//" node-name "/" demux (RFC 9171 section 4.2.5.1.1).
func checkDTN[T string | []byte](ssp T) error {
	switch {
	case len(ssp) > MaxEIDText:
		return fmt.Errorf("longer than %d bytes", MaxEIDText)
	case len(ssp) < 2 || ssp[0] != '/' || ssp[1] != '/':
		return errors.New(`a dtn EID is dtn:none or has "//" behind its scheme`)
	}
	i := 2
	for ; i < len(ssp) && ssp[i] != '/'; i++ {
		if !isRegName(ssp[i]) {
			return fmt.Errorf("character %q is not allowed in a node name", ssp[i])
		}
		if ssp[i] == '%' && (i+2 >= len(ssp) || !isHex(ssp[i+1]) || !isHex(ssp[i+2])) {
			return errors.New(`"%" in a node name needs two hexadecimal digits behind it`)
		}
	}
	switch {
	case i == 2:
		return errors.New("empty node name")
	case i == len(ssp):
		return errNoDelimiter
	}
	for ; i < len(ssp); i++ {
		if ssp[i] < 0x21 || ssp[i] > 0x7e {
			return fmt.Errorf("character %q is not allowed in a demux", ssp[i])
		}
	}
	return nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isRegName tells whether c may stand in a reg-name (RFC 3986 section 3.2.2).
func isRegName(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=%", c) >= 0
}

// Scheme returns the scheme of e.
func (e EID) Scheme() Scheme {
	if e.ipn {
		return SchemeIPN
	}
	return SchemeDTN
}

// IsNull tells whether e is the null endpoint, dtn:none or ipn:0.0.
func (e EID) IsNull() bool { return e == EID{} }

// IsSingleton tells whether e names at most one node. Only dtn EIDs whose demux
// begins with "~" do not (RFC 9171 section 4.2.5.1.1).
func (e EID) IsSingleton() bool { return e.ipn || !strings.HasPrefix(e.Demux(), "~") }

// Node returns the node ID of the node that e belongs to, which is also its
// administrative endpoint: ipn:N.0 or dtn://name/. The null endpoint has none
// and returns itself.
func (e EID) Node() EID {
	if e.IsNull() {
		return e
	}
	if e.ipn {
		return IPN(e.node, 0)
	}
	return EID{ssp: e.ssp[:len(e.ssp)-len(e.Demux())]}
}

// NodeNumber returns the fully qualified ipn node number, or 0.
func (e EID) NodeNumber() uint64 { return e.node }

// Service returns the ipn service number, or 0.
func (e EID) Service() uint64 { return e.service }

// Demux returns the part of a dtn EID behind the node name, or "".
func (e EID) Demux() string {
	if e.ipn || e.ssp == "" {
		return ""
	}
	i := strings.IndexByte(e.ssp[2:], '/')
	return e.ssp[2+i+1:]
}

// WithService returns the endpoint of e's node with the given ipn service
// number, or with that number as its demux in the dtn scheme.
func (e EID) WithService(service uint64) EID {
	if e.ipn {
		return IPN(e.node, service)
	}
	return EID{ssp: e.Node().ssp + strconv.FormatUint(service, 10)}
}

// String returns e as a URI.
func (e EID) String() string {
	switch {
	case !e.ipn && e.ssp == "":
		return "dtn:none"
	case !e.ipn:
		return "dtn:" + e.ssp
	case e.node == LocalNode:
		return fmt.Sprintf("ipn:!.%d", e.service)
	case e.node>>32 == 0:
		return fmt.Sprintf("ipn:%d.%d", e.node, e.service)
	}
	return fmt.Sprintf("ipn:%d.%d.%d", e.node>>32, e.node&math.MaxUint32, e.service)
}

// MarshalText implements encoding.TextMarshaler.
func (e EID) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *EID) UnmarshalText(text []byte) error {
	parsed, err := ParseEID(string(text))
	if err != nil {
		return err
	}
	*e = parsed
	return nil
}
