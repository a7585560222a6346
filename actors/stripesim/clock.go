package stripesim

import (
	"container/heap"
	"sync"
	"time"
)

// clock is the simulator's time and its agenda: what will happen by itself, and
// when. Time is the base clock plus what was advanced.
type clock struct {
	base func() time.Time

	running sync.Mutex // held while due items run, so that Advance sees them done

	mu     sync.Mutex
	offset time.Duration
	items  agenda
	seq    uint64
	timer  *time.Timer
	armed  uint64    // numbers the timers, so that a late ring does not forget a newer one
	wake   time.Time // what the timer is armed for
	closed bool
	wg     sync.WaitGroup // one count for each armed or running timer
}

type item struct {
	due time.Time
	seq uint64
	run func()
}

// now is the simulated time, in UTC.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked()
}

func (c *clock) nowLocked() time.Time { return c.base().Add(c.offset).UTC() }

// advanced is how far the clock was moved by hand.
func (c *clock) advanced() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// after puts run on the agenda. It runs without any lock of the clock's but the one
// that keeps items in order, and must not call advance.
func (c *clock) after(d time.Duration, run func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.seq++
	heap.Push(&c.items, item{due: c.nowLocked().Add(max(d, 0)), seq: c.seq, run: run})
	c.arm()
}

// arm sets the one timer to the earliest item.
func (c *clock) arm() {
	if c.closed || len(c.items) == 0 {
		return
	}
	due := c.items[0].due
	if c.timer != nil {
		if !due.Before(c.wake) {
			return
		}
		c.disarm()
	}
	c.wake = due
	c.wg.Add(1)
	c.armed++
	me := c.armed
	c.timer = time.AfterFunc(max(due.Sub(c.nowLocked()), 0), func() { c.ring(me) })
}

// disarm stops the timer; one that already rings gives its count back itself.
func (c *clock) disarm() {
	if c.timer != nil && c.timer.Stop() {
		c.wg.Done()
	}
	c.timer = nil
}

func (c *clock) ring(me uint64) {
	defer c.wg.Done()
	c.mu.Lock()
	if c.armed == me {
		c.timer = nil
	}
	c.mu.Unlock()
	c.running.Lock()
	defer c.running.Unlock()
	c.runDue()
}

// runDue runs what is due, oldest first, and arms the timer for the rest.
func (c *clock) runDue() {
	for {
		c.mu.Lock()
		if c.closed || len(c.items) == 0 || c.items[0].due.After(c.nowLocked()) {
			c.arm()
			c.mu.Unlock()
			return
		}
		next := heap.Pop(&c.items).(item)
		c.mu.Unlock()
		next.run()
	}
}

// advance moves the clock by d, stopping at every item on the way so that each runs
// at its own time.
func (c *clock) advance(d time.Duration) {
	c.running.Lock()
	defer c.running.Unlock()
	c.mu.Lock()
	final := c.offset + max(d, 0)
	c.mu.Unlock()
	for {
		c.mu.Lock()
		limit := c.base().Add(final)
		if c.closed || len(c.items) == 0 || c.items[0].due.After(limit) {
			c.offset = max(c.offset, final)
			// Armed for a moment that has come nearer: set it anew.
			c.disarm()
			c.arm()
			c.mu.Unlock()
			return
		}
		next := heap.Pop(&c.items).(item)
		if lead := next.due.Sub(c.nowLocked()); lead > 0 {
			c.offset = min(c.offset+lead, final)
		}
		c.mu.Unlock()
		next.run()
	}
}

// close forgets the agenda and waits for what is running.
func (c *clock) close() {
	c.mu.Lock()
	c.closed = true
	c.items = nil
	c.disarm()
	c.mu.Unlock()
	c.wg.Wait()
}

// agenda is a heap by due time; equal times keep their order.
type agenda []item

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].due.Equal(a[j].due) {
		return a[i].seq < a[j].seq
	}
	return a[i].due.Before(a[j].due)
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(item)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = item{}
	*a = old[:len(old)-1]
	return last
}
