package harness

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// A beat is expected each, and a machine that lets several pass has stood still.
	beat, missed = 50 * time.Millisecond, time.Second
	// crowd is how many tasks for each processor wait for one, on average over a minute, on a machine that others use, too:
	// what answers in a millisecond may then take its turn seconds late.
	crowd = 4
)

// Pulse knows when this machine has stood still for a second or more, and when it was crowded: a request then runs into
// its time limit, and nobody is to blame. Use TakePulse.
type Pulse struct {
	mu    sync.Mutex
	last  time.Time
	still []span
	full  []span
}

type span struct{ from, to time.Time }

// TakePulse feels the pulse until ctx ends.
func TakePulse(ctx context.Context) *Pulse {
	p := &Pulse{last: time.Now()}
	go func() {
		for ctx.Err() == nil {
			time.Sleep(beat)
			p.feel(time.Now(), isCrowded())
		}
	}()
	return p
}

func (p *Pulse) feel(now time.Time, isCrowded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.last) > missed {
		p.still = append(p.still, span{p.last, now})
	}
	if isCrowded {
		p.full = append(p.full, span{p.last, now})
	}
	p.last = now
}

// Excuses reports whether the machine is to blame for a request that failed with a message: it stood still meanwhile, or
// it was crowded and the time ran out. A connection that was refused, or that ended, has no excuse but the former.
func (p *Pulse) Excuses(from, to time.Time, message string) bool {
	p.feel(time.Now(), isCrowded()) // it may just have gone on
	p.mu.Lock()
	defer p.mu.Unlock()
	ranOut := strings.Contains(message, "deadline exceeded") || strings.Contains(message, "imeout exceeded") || strings.Contains(message, "i/o timeout")
	return overlap(p.still, from, to) || ranOut && overlap(p.full, from, to)
}

func overlap(spans []span, from, to time.Time) bool {
	for _, s := range spans {
		if s.from.Before(to) && s.to.After(from) {
			return true
		}
	}
	return false
}

// isCrowded asks the kernel, where it tells.
func isCrowded() bool {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return false
	}
	var minute float64
	_, err = fmt.Sscan(string(text), &minute)
	return err == nil && minute > float64(crowd*runtime.NumCPU())
}
