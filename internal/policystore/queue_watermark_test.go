package policystore

import (
	"strconv"
	"testing"

	"k8s.io/client-go/tools/cache"

	"github.com/grantry/grantry/api/v1alpha1"
)

// at is a Grant of a version.
func at(name string, generation int64, version int) *v1alpha1.Grant {
	g := makeGrant(name, "dev", "alice")
	g.Generation, g.ResourceVersion = generation, strconv.Itoa(version)
	return g
}

// TestQueue_watermark: a watermark is never ahead of the snapshot, and lists say nothing of their own.
func TestQueue_watermark(t *testing.T) {
	t.Parallel()
	listed := uint64(10)
	s := loaded(t)
	s.queue.listed = func(kind) (uint64, uint64) { return 10, listed }
	h := s.queue.handler(kindGrant)
	expect := func(what string, want uint64) {
		t.Helper()
		if got := s.Watermarks()["grant"]; got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	apply := func() { s.apply(t.Context(), s.queue.take()); s.queue.done() }

	h.OnAdd(at("a", 1, 8), true)
	s.queue.take()
	s.queue.loaded()
	expect("the first list is in the snapshot", 10)

	b := at("b", 1, 12)
	h.OnAdd(b, false)
	expect("an event that is not applied", 10)
	taken := s.queue.take()
	h.OnAdd(at("c", 1, 13), false)
	expect("while it is being applied", 10)
	s.apply(t.Context(), taken)
	s.queue.done()
	expect("what was taken is applied, and not what came after", 12)
	apply()
	expect("and then that", 13)

	written := at("b", 1, 14)
	h.OnUpdate(b, written)
	expect("a status changes no decision", 14)
	h.OnDelete(at("b", 1, 15))
	expect("a deletion that is not applied", 14)
	apply()
	expect("a deletion", 15)

	listed = 20
	h.OnUpdate(at("a", 1, 8), at("a", 2, 18))
	h.OnDelete(cache.DeletedFinalStateUnknown{Key: "c"})
	apply()
	expect("a new list may have more to come", 15)
	h.OnUpdate(at("a", 2, 18), at("a", 2, 21))
	expect("an event after the list", 21)
}

// TestQueue_otherKinds: what is seen of one kind says nothing of the others.
func TestQueue_otherKinds(t *testing.T) {
	t.Parallel()
	s := loaded(t)
	s.queue.listed = func(kind) (uint64, uint64) { return 10, 10 }
	s.queue.loaded()
	h := s.queue.handler(kindGrant)
	h.OnAdd(at("a", 1, 8), false)
	s.apply(t.Context(), s.queue.take())
	s.queue.done()
	h.OnUpdate(at("a", 1, 8), at("a", 1, 12)) // its status
	if got := s.Watermarks(); got["grant"] != 12 || got["acl"] != 10 || got["group"] != 10 {
		t.Errorf("%v, want Grants at 12 and the others at 10", got)
	}
}

// TestQueue_listedAnewWhileLoading: what a second list brings is still to come when the first snapshot is made.
func TestQueue_listedAnewWhileLoading(t *testing.T) {
	t.Parallel()
	s := loaded(t)
	last := uint64(10)
	s.queue.listed = func(kind) (uint64, uint64) { return 10, last }
	h := s.queue.handler(kindGrant)
	h.OnAdd(at("a", 1, 8), true)
	taken := s.queue.take()
	last = 20
	s.load(t.Context(), taken)
	s.queue.loaded()
	if got := s.Watermarks()["grant"]; got != 10 {
		t.Errorf("%d, and the snapshot is of 10", got)
	}
	h.OnAdd(at("b", 1, 18), false)
	h.OnAdd(at("c", 1, 21), false)
	s.apply(t.Context(), s.queue.take())
	s.queue.done()
	if got := s.Watermarks()["grant"]; got != 21 {
		t.Errorf("%d after an event of 21", got)
	}
}

// TestStore_rewind: after etcd was restored, versions that were applied are given out anew, and nothing is known of those.
func TestStore_rewind(t *testing.T) {
	t.Parallel()
	last := uint64(10)
	s := loaded(t)
	s.queue.listed = func(kind) (uint64, uint64) { return 10, last }
	woken := s.Subscribe(t.Context())
	h := s.queue.handler(kindGrant)
	apply := func() { s.apply(t.Context(), s.queue.take()); s.queue.done() }
	expect := func(what string, want uint64) {
		t.Helper()
		if got := s.Watermarks()["grant"]; got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	h.OnAdd(at("a", 1, 30), false)
	apply()
	<-woken
	last = 40
	s.rewind("grant", last)
	s.rewind("job", 1)
	expect("a list that is newer", 30)
	h.OnUpdate(at("a", 1, 30), at("a", 2, 50))
	taken := s.queue.take()
	last = 20
	s.rewind("grant", last)
	expect("a list that is older", 0)
	select {
	case <-woken:
	default:
		t.Error("nobody is told")
	}
	s.apply(t.Context(), taken)
	s.queue.done()
	expect("what was taken before is applied", 0)
	h.OnAdd(at("b", 1, 21), false)
	apply()
	expect("an event after the list", 21)
}
