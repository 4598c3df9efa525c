package tcpcl

// A ring is a first-in first-out queue that grows as needed; whoever pushes
// bounds it.
type ring[T any] struct {
	items []T // length is a power of two, or zero
	head  int
	count int
}

func (r *ring[T]) len() int { return r.count }

// at is the i-th item from the front; the pointer holds until the next push.
func (r *ring[T]) at(i int) *T {
	return &r.items[(r.head+i)&(len(r.items)-1)]
}

func (r *ring[T]) push(v T) {
	if r.count == len(r.items) {
		grown := make([]T, max(8, 2*len(r.items)))
		for i := range r.count {
			grown[i] = *r.at(i)
		}
		r.items, r.head = grown, 0
	}
	r.count++
	*r.at(r.count - 1) = v
}

func (r *ring[T]) pop() T {
	var zero T
	front := r.at(0)
	v := *front
	*front = zero
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.count--
	return v
}

// popLast takes the item that was pushed last.
func (r *ring[T]) popLast() T {
	var zero T
	last := r.at(r.count - 1)
	v := *last
	*last = zero
	r.count--
	return v
}
