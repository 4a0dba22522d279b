package policystore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/grantry/grantry/internal/freshness"
)

// TestStore_tooOld: a snapshot that may not hold any more is none, for whoever decides, and says so.
func TestStore_tooOld(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(noon)
	s := New(nil, clock)
	s.View = freshness.New(freshness.DefaultLimit, clock, logr.Discard())
	if err := s.Unavailable(); !errors.Is(err, ErrNotSynced) {
		t.Errorf("not loaded: %v", err)
	}
	s.load(t.Context(), []pending{pendingACL("dev", "dev")})
	clock.Step(freshness.DefaultLimit)
	if !s.Synced() || s.ReadyCheck(nil) != nil {
		t.Errorf("at the limit: %v", s.ReadyCheck(nil))
	}
	clock.Step(time.Second)
	if s.Synced() || s.Snapshot() != nil || !errors.Is(s.Unavailable(), ErrTooOld) {
		t.Errorf("beyond the limit: synced %v, %v", s.Synced(), s.Unavailable())
	}
	if err := s.ReadyCheck(nil); !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "1m1s old, and 1m0s is the limit") {
		t.Errorf("readiness: %v", err)
	}
	if got := told(t, s); got["synced"] != 0 || got["objects acl"] != 1 || got["grantry_view_age_limit_seconds"] != 60 {
		t.Errorf("metrics: %v", got)
	}
	s.apply(t.Context(), []pending{pendingACL("ops", "ops")})
	if s.Synced() || s.snapshot.Load().Counts().ACLs != 2 {
		t.Error("what comes meanwhile is applied, and decides nothing")
	}
}
