package ltp

// pageSize is how much of a block is held in one piece, in bytes. Parts of a block
// are given back by the page.
const pageSize = 64 << 10

// pageCost is what a page takes besides its buffer, in bytes, also one that is not
// there: what is sparse must not be free.
const pageCost = 64

// pageClasses are the sizes of the buffers behind pages: small blocks must not take
// a whole page.
var pageClasses = [...]int{2 << 10, 16 << 10, pageSize}

// A pagePool lends buffers and counts those that are out. Buffers that come back
// are lent again, until the pool is trimmed.
type pagePool struct {
	free [len(pageClasses)][][]byte
	held int64 // bytes that are out, and what their pages cost
}

func pageClass(n int) int {
	class := 0
	for pageClasses[class] < n {
		class++
	}
	return class
}

// get lends a buffer of n bytes, at most pageSize, whose capacity is its class.
func (p *pagePool) get(n int) []byte {
	class := pageClass(n)
	p.held += int64(pageClasses[class])
	if list := p.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		return b[:n]
	}
	return make([]byte, n, pageClasses[class])
}

func (p *pagePool) put(b []byte) {
	class := pageClass(cap(b))
	p.held -= int64(pageClasses[class])
	p.free[class] = append(p.free[class], b[:0])
}

// trim gives the buffers that are not lent back to the system.
func (p *pagePool) trim() { clear(p.free[:]) }

// A page is one piece of a block.
type page struct {
	buf  []byte // nil when it is not there
	gone int    // bytes that are of no more use
}

// pages hold what is needed of a block.
type pages struct {
	pool  *pagePool
	first uint64 // index of the first page
	list  queue[page]
	lent  int // pages that are there
}

// slot is the page that holds the byte at offset at, or nil.
func (p *pages) slot(at uint64) *page {
	i := at / pageSize
	if i < p.first || i-p.first >= uint64(p.list.len()) {
		return nil
	}
	return p.list.at(int(i - p.first))
}

// each calls f for every page that a part of the block lies on, with what lies on
// it: from and to count from the start of the page.
func (p *pages) each(part span, f func(pg *page, from, to int)) {
	for part.lo < part.hi {
		from := int(part.lo % pageSize)
		n := min(uint64(pageSize-from), part.hi-part.lo)
		if pg := p.slot(part.lo); pg != nil && pg.buf != nil {
			f(pg, from, from+int(n))
		}
		part.lo += n
	}
}

// ensure makes the pages for a part of the block, as far as allow agrees to each
// new buffer, and says whether they are all there.
func (p *pages) ensure(part span, allow func(index uint64, size int) bool) bool {
	for i := part.lo / pageSize; i*pageSize < part.hi; i++ {
		if i < p.first {
			return false
		}
		if more := int(i-p.first) - p.list.len() + 1; more > 0 {
			if !allow(i, more*pageCost) {
				return false
			}
			for range more {
				p.add(page{})
			}
		}
		pg := p.list.at(int(i - p.first))
		need := pageSize
		if i == 0 { // a small block needs no whole page
			need = int(min(part.hi, pageSize))
		}
		if cap(pg.buf) >= need {
			pg.buf = pg.buf[:max(need, len(pg.buf))]
			continue
		}
		if !allow(i, pageClasses[pageClass(need)]) {
			return false
		}
		p.grow(pg, need)
	}
	return true
}

func (p *pages) grow(pg *page, need int) {
	buf := p.pool.get(need)
	copy(buf, pg.buf)
	p.giveBack(pg)
	pg.buf = buf
	p.lent++
}

// giveBack takes the buffer of a page away, if it has one.
func (p *pages) giveBack(pg *page) {
	if pg.buf != nil {
		p.pool.put(pg.buf)
		pg.buf = nil
		p.lent--
	}
}

// write puts data on pages that are there.
func (p *pages) write(at uint64, data []byte) {
	p.each(span{at, at + uint64(len(data))}, func(pg *page, from, to int) {
		n := copy(pg.buf[from:to], data)
		data = data[n:]
	})
}

// append appends a part of the block, which is there, to b.
func (p *pages) append(b []byte, part span) []byte {
	p.each(part, func(pg *page, from, to int) { b = append(b, pg.buf[from:to]...) })
	return b
}

// push adds the page behind the last one.
func (p *pages) push(buf []byte) {
	p.add(page{buf: buf})
	p.lent++
}

func (p *pages) add(pg page) {
	p.list.push(pg)
	p.pool.held += pageCost
}

// pop takes the first page out.
func (p *pages) pop() {
	pg := p.list.pop()
	p.giveBack(&pg)
	p.pool.held -= pageCost
	p.first++
}

// release marks a part of the block, never marked before, as of no more use. A page
// goes with its last byte.
func (p *pages) release(part span) {
	p.each(part, func(pg *page, from, to int) {
		pg.gone += to - from
		if pg.gone == len(pg.buf) {
			p.giveBack(pg)
		}
	})
	for p.list.len() > 0 && p.list.at(0).buf == nil && p.list.at(0).gone > 0 {
		p.pop()
	}
}

// dropBefore gives back the pages that lie before an offset.
func (p *pages) dropBefore(at uint64) {
	for p.list.len() > 0 && p.first < at/pageSize {
		p.pop()
	}
}

// drop gives back everything.
func (p *pages) drop() {
	for p.list.len() > 0 {
		p.pop()
	}
}
