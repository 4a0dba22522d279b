// Package freshness knows how old this replica's view of the API server is, and by that whether it may still be
// decided by.
//
// An open watch proves nothing: its connection may have been cut without a word. What proves that a view is as the
// API server's was at a moment is that it has come as far as the API server was when it was asked after that moment.
// So every watch lives for a quarter of the limit only, and begins with that question. It is answered at once if
// nothing has happened, by an event, or else by the bookmark that an API server sends two seconds before a watch's
// end. Moments are on this replica's own monotonic clock.
//
//	ask etcd's version ─► watch, from where the last one ended ─► an event or a bookmark of that version or later
//
// Design 0009 has the reasons. Deciding costs two atomic loads.
package freshness

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

const (
	// DefaultLimit is how old a view may be.
	DefaultLimit = time.Minute
	// MinLimit is the smallest limit: below it a watch would end before its bookmark has had time to come.
	MinLimit = 20 * time.Second
	// share of the limit for which a watch lives. A proof is then at most half of the limit old before the next
	// one comes, and the other half is for a slow network.
	share = 4
	// settle is how long a view that was too old stays closed after it has been proven again, so that what has
	// come with the proof is applied first. That takes milliseconds.
	settle = time.Second
)

// Monitor follows every informer that it makes. The nil Monitor finds everything fresh.
type Monitor struct {
	limit time.Duration
	life  time.Duration // of a watch
	clock clock.PassiveClock
	log   logr.Logger
	start time.Time // moments are kept as the time since then

	oldest atomic.Int64 // the moment at which the view was proven, of the informer for which that is the longest ago
	opens  atomic.Int64 // the moment before which the view is closed, whatever is proven

	mu    sync.Mutex
	views []*view
	wake  []func()

	listed []func(kind string, version uint64)
}

// New returns a monitor that finds a view too old beyond the limit, which is at least MinLimit; zero is no limit.
func New(limit time.Duration, c clock.PassiveClock, log logr.Logger) *Monitor {
	m := &Monitor{limit: limit, life: DefaultLimit / share, clock: c, log: log, start: c.Now()}
	if limit > 0 {
		m.life = max(limit/share, shortLife)
	}
	return m
}

// NewInformer makes an informer that is followed. It is for cache.Options.
func (m *Monitor) NewInformer(
	lw toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	v := &view{monitor: m, kind: kindOf(of), nobody: selectorOfNobody(of), source: toolscache.ToListerWatcherWithContext(lw)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.views = append(m.views, v)
	return toolscache.NewSharedIndexInformer(v.listWatch(), of, resync, indexers)
}

// Limit is the age beyond which a view is too old; zero is none.
func (m *Monitor) Limit() time.Duration {
	if m == nil {
		return 0
	}
	return m.limit
}

// Fresh reports whether the view may be decided by. It takes no lock.
func (m *Monitor) Fresh(now time.Time) bool {
	if m == nil || m.limit == 0 {
		return true
	}
	since := now.Sub(m.start)
	return since-time.Duration(m.oldest.Load()) <= m.limit && since >= time.Duration(m.opens.Load())
}

// Age is how long ago the view was last proven to be the API server's, of the informer for which that is the
// longest ago. An informer that has not listed yet does not count: whoever needs it waits for that.
func (m *Monitor) Age(now time.Time) time.Duration {
	if m == nil {
		return 0
	}
	return now.Sub(m.start) - time.Duration(m.oldest.Load())
}

// Ages is the age of each kind that has been listed.
func (m *Monitor) Ages(now time.Time) map[string]time.Duration {
	ages := map[string]time.Duration{}
	if m == nil {
		return ages
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.views {
		if v.isProven {
			ages[v.kind] = max(ages[v.kind], now.Sub(m.start)-v.proven)
		}
	}
	return ages
}

// OnReopen adds what is called, on a goroutine of its own, once a view that was too old may be decided by again.
func (m *Monitor) OnReopen(wake func()) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wake = append(m.wake, wake)
}

// OnList adds what is called with a complete list's version before the informer has what is in it.
func (m *Monitor) OnList(listed func(kind string, version uint64)) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listed = append(m.listed, listed)
}

// Listed are the resource versions of the first and of the last list of a kind, or zero: what has a higher one than the last
// came by a watch, and in order.
func (m *Monitor) Listed(kind string) (first, last uint64) {
	if m == nil {
		return 0, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.views {
		if v.kind == kind {
			first, last = max(first, v.firstListed), max(last, v.listed)
		}
	}
	return first, last
}

// now is the present moment.
func (m *Monitor) now() time.Duration { return m.clock.Since(m.start) }

// prove says that a view holds what the API server held at a moment.
func (m *Monitor) prove(v *view, at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	v.proven, v.isProven = max(v.proven, at), true
	before := time.Duration(m.oldest.Load())
	oldest := slices.MinFunc(m.views, compareProofs).proven
	defer m.oldest.Store(int64(oldest)) // last: until then whoever asks finds the view too old
	if m.limit > 0 && before > 0 && now-before > m.limit && now-oldest <= m.limit {
		m.opens.Store(int64(now + settle))
		m.log.Info("The view was too old, and is up to date again", "age", (now - before).Round(time.Second))
		for _, wake := range m.wake {
			time.AfterFunc(settle, wake)
		}
	}
}

// compareProofs orders views by the moment of their proof, and those without one last.
func compareProofs(a, b *view) int {
	switch {
	case a.isProven && b.isProven:
		return int(min(max(a.proven-b.proven, -1), 1))
	case a.isProven:
		return -1
	case b.isProven:
		return 1
	}
	return 0
}

// lifetime is how long the next watch of a view is to live.
func (m *Monitor) lifetime(v *view) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !v.isProven || m.now()-v.proven > 2*m.life {
		return shortLife // its bookmark comes sooner
	}
	return m.life
}
