package custody

// Rejection says why a custody signal, or a part of it, is not honoured.
type Rejection uint8

// Reasons not to honour a signal. All of it is rejected for the first four, and
// what the others name for them.
const (
	RejectMalformed       Rejection = iota // it cannot be read, or announces more than a signal may
	RejectUnauthenticated                  // its source has a key here, and has not proved itself by it
	RejectFlood                            // its source is not known here and says too much
	RejectOff                              // custody is off with its source
	RejectStranger                         // its source cannot have become custodian of the bundle
	RejectReserved                         // a disposition of no meaning
	RejectUnknown                          // no number of it is outstanding
)

// Rejections is how many reasons there are.
const Rejections = int(RejectUnknown) + 1

// String names the reason as metrics do.
func (r Rejection) String() string {
	names := [...]string{"malformed", "unauthenticated", "flood", "custody-off", "stranger", "reserved-disposition", "unknown-numbers"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}
