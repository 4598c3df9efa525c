package sim

import "time"

// happening is something that will happen, in order of time and then of entry.
type happening struct {
	at   time.Duration
	seq  uint64
	then func()
}

func (a *happening) before(b *happening) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// happenings is a heap of them.
type happenings []happening

func (h *happenings) push(x happening) {
	list := append(*h, x)
	i := len(list) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !x.before(&list[parent]) {
			break
		}
		list[i] = list[parent]
		i = parent
	}
	list[i] = x
	*h = list
}

func (h *happenings) pop() happening {
	list := *h
	top, last := list[0], list[len(list)-1]
	list[len(list)-1] = happening{}
	list = list[:len(list)-1]
	*h = list
	if len(list) == 0 {
		return top
	}
	i := 0
	for {
		first := 4*i + 1
		if first >= len(list) {
			break
		}
		least := first
		for child := first + 1; child < min(first+4, len(list)); child++ {
			if list[child].before(&list[least]) {
				least = child
			}
		}
		if !list[least].before(&last) {
			break
		}
		list[i] = list[least]
		i = least
	}
	list[i] = last
	return top
}
