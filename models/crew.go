package models

import (
	"sync"
	"sync/atomic"
)

// job is work that is cut into tasks, which may be done in any order and at the
// same time. What a task computes must not depend on who does it.
type job interface {
	tasks() int
	do(worker, task int)
}

// crew does jobs with up to so many goroutines, which live only within each.
type crew struct {
	current job
	count   int64        // tasks of the job
	next    atomic.Int64 // task that is taken next
	wait    sync.WaitGroup
	helpers []func() // made once, so that starting them allocates nothing
}

func newCrew(threads int) *crew {
	c := &crew{}
	for w := 1; w < threads; w++ {
		c.helpers = append(c.helpers, func() {
			c.help(w)
			c.wait.Done()
		})
	}
	return c
}

// threads returns how many goroutines may work at once.
func (c *crew) threads() int { return len(c.helpers) + 1 }

// do does all tasks of j and returns when they are done.
func (c *crew) do(j job) {
	n := j.tasks()
	c.current, c.count = j, int64(n)
	c.next.Store(0)
	for w := 0; w < len(c.helpers) && w < n-1; w++ {
		c.wait.Add(1)
		go c.helpers[w]()
	}
	c.help(0)
	c.wait.Wait()
}

func (c *crew) help(worker int) {
	for {
		task := c.next.Add(1) - 1
		if task >= c.count {
			return
		}
		c.current.do(worker, int(task))
	}
}
