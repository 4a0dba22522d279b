package harness

import (
	"context"
	"sync"
	"time"
)

// A beat is expected each, and a machine that lets several pass has stood still.
const beat, missed = 50 * time.Millisecond, time.Second

// Pulse knows when this machine has stood still for a second or more: what has a time limit then fails, and nobody is to
// blame. Use TakePulse.
type Pulse struct {
	mu     sync.Mutex
	last   time.Time
	stalls [][2]time.Time
}

// TakePulse feels the pulse until ctx ends.
func TakePulse(ctx context.Context) *Pulse {
	p := &Pulse{last: time.Now()}
	go func() {
		for ctx.Err() == nil {
			time.Sleep(beat)
			p.feel(time.Now())
		}
	}()
	return p
}

func (p *Pulse) feel(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.last) > missed {
		p.stalls = append(p.stalls, [2]time.Time{p.last, now})
	}
	p.last = now
}

// Stood reports whether the machine stood still at some moment between two.
func (p *Pulse) Stood(from, to time.Time) bool {
	p.feel(time.Now()) // it may just have gone on
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stall := range p.stalls {
		if stall[0].Before(to) && stall[1].After(from) {
			return true
		}
	}
	return false
}
