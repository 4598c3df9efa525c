// Package cbor reads and appends the CBOR (RFC 8949) that bundles are made of:
// shortest heads, bounded, without reflection and without copying.
//
// It refuses to know what the items mean. Counts and lengths found in the input
// never lead to an allocation.
package cbor

import (
	"fmt"
	"io"
	"math/bits"
)

// Major is the major type of a CBOR item (RFC 8949 section 3.1).
type Major uint8

// Major types.
const (
	MajorUint   Major = 0
	MajorNegInt Major = 1
	MajorBytes  Major = 2
	MajorText   Major = 3
	MajorArray  Major = 4
	MajorMap    Major = 5
	MajorTag    Major = 6
	MajorSimple Major = 7
)

// String names the major type.
func (m Major) String() string {
	names := [...]string{"unsigned integer", "negative integer", "byte string", "text string", "array", "map", "tag", "simple value"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("major(%d)", uint8(m))
}

// Initial bytes that stand for themselves.
const (
	BreakByte       = 0xff // end of an indefinite-length item
	IndefiniteArray = 0x9f
	False           = 0xf4
	True            = 0xf5
)

const indefinite = 31 // additional information of an indefinite-length item

// MaxDepth is how deep Skip follows nested items.
const MaxDepth = 16

// Error tells where and why input is not the CBOR that was asked for. When the
// input ended too early it wraps io.ErrUnexpectedEOF, and only then.
type Error struct {
	Offset int // of the item at fault
	Reason string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset) }

// Unwrap returns io.ErrUnexpectedEOF when the input ended too early.
func (e *Error) Unwrap() error { return e.Err }

// Decoder reads items from a slice. A copy of a Decoder reads on independently.
type Decoder struct {
	b   []byte
	off int
}

// NewDecoder returns a Decoder at the beginning of b.
func NewDecoder(b []byte) Decoder { return Decoder{b: b} }

// Offset is the number of bytes read.
func (d *Decoder) Offset() int { return d.off }

// Rest is what was not read yet.
func (d *Decoder) Rest() []byte { return d.b[d.off:] }

// Slice returns the input from offset from to the present one.
func (d *Decoder) Slice(from int) []byte { return d.b[from:d.off:d.off] }

// Peek returns the next byte without reading it.
func (d *Decoder) Peek() (byte, error) {
	if d.off >= len(d.b) {
		return 0, d.truncated(d.off)
	}
	return d.b[d.off], nil
}

// Break reads the end of an indefinite-length item if it is next.
func (d *Decoder) Break() (bool, error) {
	c, err := d.Peek()
	if err != nil || c != BreakByte {
		return false, err
	}
	d.off++
	return true, nil
}

func (d *Decoder) truncated(at int) error {
	return &Error{Offset: at, Reason: "input ends early", Err: io.ErrUnexpectedEOF}
}

func (d *Decoder) fail(at int, format string, args ...any) error {
	return &Error{Offset: at, Reason: fmt.Sprintf(format, args...)}
}

// Head reads the head of an item: its major type and argument. open tells that
// the item has indefinite length. A break is not a head.
func (d *Decoder) Head() (m Major, arg uint64, open bool, err error) {
	first, err := d.Peek()
	if err != nil {
		return 0, 0, false, err
	}
	m, info := Major(first>>5), first&0x1f
	if info < 24 {
		d.off++
		return m, uint64(info), false, nil
	}
	if info == indefinite && m >= MajorBytes && m <= MajorMap {
		d.off++
		return m, 0, true, nil
	}
	if info > 27 {
		return 0, 0, false, d.fail(d.off, "byte 0x%02x begins no CBOR item", first)
	}
	n := 1 << (info - 24)
	if len(d.b)-d.off-1 < n {
		return 0, 0, false, d.truncated(d.off)
	}
	for _, c := range d.b[d.off+1 : d.off+1+n] {
		arg = arg<<8 | uint64(c)
	}
	if m != MajorSimple && HeadLen(arg) != 1+n {
		return 0, 0, false, d.fail(d.off, "%s %d is not in its shortest form", m, arg)
	}
	d.off += 1 + n
	return m, arg, false, nil
}

// definite reads a head of major type m and definite length.
func (d *Decoder) definite(m Major) (uint64, error) {
	at := d.off
	got, arg, open, err := d.Head()
	switch {
	case err != nil:
		return 0, err
	case got != m:
		d.off = at
		return 0, d.fail(at, "expected %s, found %s", m, got)
	case open:
		d.off = at
		return 0, d.fail(at, "%s has indefinite length", m)
	}
	return arg, nil
}

// Uint reads an unsigned integer.
func (d *Decoder) Uint() (uint64, error) { return d.definite(MajorUint) }

// Int reads an integer that fits an int64.
func (d *Decoder) Int() (int64, error) {
	at := d.off
	m, arg, _, err := d.Head()
	switch {
	case err != nil:
		return 0, err
	case m > MajorNegInt || arg > 1<<63-1:
		d.off = at
		return 0, d.fail(at, "expected a 64-bit integer, found %s", m)
	case m == MajorNegInt:
		return -1 - int64(arg), nil
	}
	return int64(arg), nil
}

// Bool reads true or false.
func (d *Decoder) Bool() (bool, error) {
	c, err := d.Peek()
	if err != nil {
		return false, err
	}
	if c != True && c != False {
		return false, d.fail(d.off, "expected true or false, found byte 0x%02x", c)
	}
	d.off++
	return c == True, nil
}

// Tag reads the number of a tag if a tag is next.
func (d *Decoder) Tag() (number uint64, ok bool, err error) {
	c, err := d.Peek()
	if err != nil || Major(c>>5) != MajorTag {
		return 0, false, err
	}
	number, err = d.definite(MajorTag)
	return number, err == nil, err
}

// BytesHead reads the head of a byte string of definite length and returns that
// length, which may be more than there is.
func (d *Decoder) BytesHead() (uint64, error) { return d.definite(MajorBytes) }

// Bytes reads a byte string of definite length. The result aliases the input.
func (d *Decoder) Bytes() ([]byte, error) {
	n, err := d.definite(MajorBytes)
	if err != nil {
		return nil, err
	}
	return d.take(n)
}

// take reads n bytes.
func (d *Decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.b)-d.off) {
		return nil, d.truncated(len(d.b))
	}
	from := d.off
	d.off += int(n)
	return d.Slice(from), nil
}

// Text reads a text string of at most limit bytes; that it is UTF-8 is left to
// the caller. The result aliases the input unless the string came in pieces.
func (d *Decoder) Text(limit int) ([]byte, error) {
	at := d.off
	m, n, open, err := d.Head()
	switch {
	case err != nil:
		return nil, err
	case m != MajorText:
		d.off = at
		return nil, d.fail(at, "expected text string, found %s", m)
	case open:
		return d.pieces(at, limit)
	case n > uint64(limit):
		d.off = at
		return nil, d.fail(at, "text of %d bytes is longer than %d", n, limit)
	}
	return d.take(n)
}

// pieces reads the definite-length pieces of a text string up to its break.
func (d *Decoder) pieces(at, limit int) ([]byte, error) {
	var text []byte
	for {
		end, err := d.Break()
		if err != nil || end {
			return text, err
		}
		n, err := d.definite(MajorText)
		if err != nil {
			return nil, err
		}
		if n > uint64(limit-len(text)) {
			return nil, d.fail(at, "text is longer than %d bytes", limit)
		}
		piece, err := d.take(n)
		if err != nil {
			return nil, err
		}
		text = append(text, piece...)
	}
}

// Items counts the items of an array, or the pairs of a map, while they are read.
type Items struct {
	left uint64
	open bool
	at   int
}

// Open tells that the array has indefinite length.
func (it *Items) Open() bool { return it.open }

// Left is how many items are still to be read, when the length is definite.
func (it *Items) Left() uint64 { return it.left }

// Array reads the head of an array. Read its items behind More or Next, and end
// with End or More returning false.
func (d *Decoder) Array() (Items, error) { return d.container(MajorArray) }

// Map reads the head of a map. More and Next count its pairs.
func (d *Decoder) Map() (Items, error) { return d.container(MajorMap) }

func (d *Decoder) container(want Major) (Items, error) {
	at := d.off
	m, n, open, err := d.Head()
	if err != nil {
		return Items{}, err
	}
	if m != want {
		d.off = at
		return Items{}, d.fail(at, "expected %s, found %s", want, m)
	}
	return Items{left: n, open: open, at: at}, nil
}

// More tells whether another item follows, and reads the break of an
// indefinite-length array when none does.
func (d *Decoder) More(it *Items) (bool, error) {
	if !it.open {
		if it.left == 0 {
			return false, nil
		}
		it.left--
		return true, nil
	}
	end, err := d.Break()
	if err != nil {
		return false, err
	}
	it.open = !end
	return !end, nil
}

// Next requires another item.
func (d *Decoder) Next(it *Items) error {
	more, err := d.More(it)
	if err == nil && !more {
		err = d.fail(it.at, "array has too few items")
	}
	return err
}

// End requires that no item is left, and reads the break.
func (d *Decoder) End(it *Items) error {
	more, err := d.More(it)
	if err == nil && more {
		err = d.fail(it.at, "array has too many items")
	}
	return err
}

// Skip reads over one well-formed item of any kind, nested at most MaxDepth deep.
func (d *Decoder) Skip() error { return d.skip(MaxDepth) }

func (d *Decoder) skip(depth int) error {
	at := d.off
	if depth == 0 {
		return d.fail(at, "items are nested more than %d deep", MaxDepth)
	}
	m, arg, open, err := d.Head()
	if err != nil {
		return err
	}
	switch m {
	case MajorBytes, MajorText:
		if open {
			return d.skipPieces(m)
		}
		_, err = d.take(arg)
		return err
	case MajorTag:
		return d.skip(depth - 1)
	case MajorArray, MajorMap:
		return d.skipItems(Items{left: arg, open: open, at: at}, m == MajorMap, depth)
	case MajorSimple:
		if d.off-at == 2 && arg < 32 {
			return d.fail(at, "simple value %d is not in its shortest form", arg)
		}
	}
	return nil
}

func (d *Decoder) skipPieces(m Major) error {
	it := Items{open: true}
	for {
		more, err := d.More(&it)
		if err != nil || !more {
			return err
		}
		n, err := d.definite(m)
		if err != nil {
			return err
		}
		if _, err = d.take(n); err != nil {
			return err
		}
	}
}

func (d *Decoder) skipItems(it Items, pairs bool, depth int) error {
	for {
		more, err := d.More(&it)
		if err != nil || !more {
			return err
		}
		if err = d.skip(depth - 1); err != nil {
			return err
		}
		if !pairs {
			continue
		}
		if err = d.skip(depth - 1); err != nil {
			return err
		}
	}
}

// AppendHead appends the shortest head of major type m with argument arg.
func AppendHead(dst []byte, m Major, arg uint64) []byte {
	first := byte(m) << 5
	switch {
	case arg < 24:
		return append(dst, first|byte(arg))
	case arg < 1<<8:
		return append(dst, first|24, byte(arg))
	case arg < 1<<16:
		return append(dst, first|25, byte(arg>>8), byte(arg))
	case arg < 1<<32:
		return append(dst, first|26, byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
	}
	return append(dst, first|27, byte(arg>>56), byte(arg>>48), byte(arg>>40), byte(arg>>32),
		byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
}

// AppendUint appends an unsigned integer.
func AppendUint(dst []byte, v uint64) []byte { return AppendHead(dst, MajorUint, v) }

// AppendInt appends an integer.
func AppendInt(dst []byte, v int64) []byte {
	if v < 0 {
		return AppendHead(dst, MajorNegInt, uint64(-1-v))
	}
	return AppendUint(dst, uint64(v))
}

// AppendBytes appends a byte string.
func AppendBytes(dst, b []byte) []byte {
	return append(AppendHead(dst, MajorBytes, uint64(len(b))), b...)
}

// AppendText appends a text string.
func AppendText(dst []byte, s string) []byte {
	return append(AppendHead(dst, MajorText, uint64(len(s))), s...)
}

// AppendArray appends the head of an array of n items.
func AppendArray(dst []byte, n int) []byte { return AppendHead(dst, MajorArray, uint64(n)) }

// AppendBool appends true or false.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, True)
	}
	return append(dst, False)
}

// HeadLen is the length of the shortest head with argument arg, in bytes.
func HeadLen(arg uint64) int {
	if arg < 24 {
		return 1
	}
	return longHeadLen(arg)
}

func longHeadLen(arg uint64) int {
	switch n := bits.Len64(arg); {
	case n <= 8:
		return 2
	case n <= 16:
		return 3
	case n <= 32:
		return 5
	}
	return 9
}
