package memory

import (
	"time"

	"fanfare"
)

// fifo is a ring of tasks that grows.
type fifo struct {
	tasks []fanfare.Task
	head  int
	n     int
}

func (f *fifo) len() int { return f.n }

func (f *fifo) push(t fanfare.Task) {
	f.grow()
	f.tasks[(f.head+f.n)%len(f.tasks)] = t
	f.n++
}

func (f *fifo) pushFront(t fanfare.Task) {
	f.grow()
	f.head = (f.head + len(f.tasks) - 1) % len(f.tasks)
	f.tasks[f.head] = t
	f.n++
}

// pop takes the oldest; there must be one.
func (f *fifo) pop() fanfare.Task {
	t := f.tasks[f.head]
	f.tasks[f.head] = fanfare.Task{}
	f.head = (f.head + 1) % len(f.tasks)
	f.n--
	return t
}

func (f *fifo) grow() {
	if f.n < len(f.tasks) {
		return
	}
	bigger := make([]fanfare.Task, max(16, 2*len(f.tasks)))
	for i := range f.n {
		bigger[i] = f.tasks[(f.head+i)%len(f.tasks)]
	}
	f.tasks, f.head = bigger, 0
}

// waiting is a task that was returned with a delay.
type waiting struct {
	task fanfare.Task
	due  time.Time
}

// delayed is a heap of what waits, the earliest first.
type delayed []waiting

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is for container/heap.
func (d *delayed) Push(x any) {
	w, _ := x.(waiting)
	*d = append(*d, w)
}

// Pop is for container/heap.
func (d *delayed) Pop() any {
	old := *d
	w := old[len(old)-1]
	*d = old[:len(old)-1]
	return w
}
