package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mostMemory is what the operator's container has, in bytes: see config/manager.
const mostMemory = 512 << 20

// longQuestions: who sends long questions slowly makes others of these be refused, and none that is short.
func (s *site) longQuestions(t *testing.T) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "client.crt"), filepath.Join(s.dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	caller := newConnections(pair)
	s.besideSlowBodies(t, holdings{
		address: s.authorization, path: "/authorize", large: 72, size: 1<<20 - 1, certificates: []tls.Certificate{pair},
		busy:  "too many long questions",
		long:  func(ctx context.Context) (string, error) { return send(ctx, caller, s.question(1<<20-1<<10)) },
		short: func(ctx context.Context) (string, error) { return send(ctx, caller, s.question(0)) },
	})
}

// largeReviews: the same of admission, to which anybody may send.
func (s *site) largeReviews(t *testing.T) {
	anybody := newConnections()
	s.besideSlowBodies(t, holdings{
		address: s.admission, path: "/validate", large: 12, size: 7<<20 - 1,
		busy:  "too much is being asked at once",
		long:  func(ctx context.Context) (string, error) { return send(ctx, anybody, s.deletion(7<<20-4<<10)) },
		short: func(ctx context.Context) (string, error) { return send(ctx, anybody, s.deletion(0)) },
	})
}

// holdings are how somebody holds what a webhook reads at once.
type holdings struct {
	address, path string
	large, size   int // so many bodies of so many bytes, at which they stop, one before their end
	certificates  []tls.Certificate
	busy          string // in the answer to what is long
	long, short   func(ctx context.Context) (string, error)
}

// slow stops before the last byte of a body.
func (h *holdings) slow(size int) way {
	return secured(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", h.path, size+1, strings.Repeat(" ", size)), h.certificates...)
}

// besideSlowBodies holds bodies and asks: what is long is refused, and in the same moment what is short is allowed, three
// times. Holders' time runs out after ten seconds, and then come others, so that there are moments without.
func (s *site) besideSlowBodies(t *testing.T, h holdings) {
	t.Helper()
	peak := watch(t, s.operator.PID())
	f, ctx := newFlood(t.Context())
	f.hold(ctx, h.large, h.address, h.slow(h.size))
	f.hold(ctx, 100, h.address, h.slow(192<<10)) // what is left is less than a large one
	f.hold(ctx, 40, h.address, h.slow(1))        // or than these
	seen, last := 0, ""
	for deadline := time.Now().Add(3 * waitFor); seen < 3 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		before, err := h.try(t.Context(), h.long)
		short, shortErr := h.try(t.Context(), h.short)
		after, afterErr := h.try(t.Context(), h.long)
		last = fmt.Sprintf("long: %.200s %v; short: %.200s %v; long: %.200s %v", before, err, short, shortErr, after, afterErr)
		if strings.Contains(short, h.busy) {
			t.Errorf("what is short waits for what is long: %s", short)
			break
		}
		if strings.Contains(before, h.busy) && strings.Contains(short, `"allowed":true`) && strings.Contains(after, h.busy) {
			seen++
		}
	}
	f.end()
	most := peak()
	t.Logf("%s, %d MiB at the most", f, most.memory>>20)
	if seen < 3 {
		t.Errorf("only %d times what was long was refused, and what was short allowed; in the end %s", seen, last)
	}
	if most.memory > mostMemory {
		t.Errorf("the operator had %d MiB, more than %d", most.memory>>20, mostMemory>>20)
	}
}

func (h *holdings) try(ctx context.Context, ask func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, waitFor)
	defer cancel()
	return ask(ctx)
}
