package schedule

// tree keeps items in order, the most urgent first. It is a treap: a search tree by
// order and a heap by a number scrambled from the handle, which keeps it flat
// whatever the order of arrival and makes its shape a function of its contents.
// Every node knows the least room that is needed below it, so that the first item that
// fits is found without visiting those that do not.
type tree struct {
	root *leaf
}

type leaf struct {
	item        Item
	weight      uint64
	left, right *leaf
	room        int64 // the least in this subtree
}

func newLeaf(i Item) *leaf {
	n := &leaf{item: i, weight: scramble(uint64(i.Handle))}
	n.update()
	return n
}

// scramble is the finalizer of splitmix64.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (n *leaf) update() {
	n.room = n.item.least()
	for _, child := range [2]*leaf{n.left, n.right} {
		if child != nil {
			n.room = min(n.room, child.room)
		}
	}
}

// split parts n into what goes before i and the rest.
func split(n *leaf, i *Item) (before, rest *leaf) {
	if n == nil {
		return nil, nil
	}
	if order(&n.item, i) < 0 {
		n.right, rest = split(n.right, i)
		n.update()
		return n, rest
	}
	before, n.left = split(n.left, i)
	n.update()
	return before, n
}

// join puts b behind a.
func join(a, b *leaf) *leaf {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.weight > b.weight:
		a.right = join(a.right, b)
		a.update()
		return a
	}
	b.left = join(a, b.left)
	b.update()
	return b
}

func (t *tree) insert(i Item) {
	before, rest := split(t.root, &i)
	t.root = join(join(before, newLeaf(i)), rest)
}

func (t *tree) remove(i *Item) { t.root = without(t.root, i) }

func without(n *leaf, i *Item) *leaf {
	if n == nil {
		return nil
	}
	switch o := order(i, &n.item); {
	case o < 0:
		n.left = without(n.left, i)
	case o > 0:
		n.right = without(n.right, i)
	default:
		return join(n.left, n.right)
	}
	n.update()
	return n
}

// first returns the first item that fits into room bytes, or nil.
func (t *tree) first(room int64) *Item {
	n := t.root
	for n != nil && n.room <= room {
		switch {
		case n.left != nil && n.left.room <= room:
			n = n.left
		case n.item.least() <= room:
			return &n.item
		default:
			n = n.right
		}
	}
	return nil
}

// each calls yield with every item in order until it returns false.
func (n *leaf) each(yield func(Item) bool) bool {
	return n == nil || n.left.each(yield) && yield(n.item) && n.right.each(yield)
}
