package policystore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func loaded(tb testing.TB, objs ...pending) *Store {
	tb.Helper()
	s := New(nil, clocktesting.NewFakeClock(noon))
	s.load(tb.Context(), objs)
	return s
}

func pendingACL(name, path string) pending {
	return pending{objectKey{kindACL, name}, &v1alpha1.ACL{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: "metronome", Path: path}},
	}}
}

func makeGrant(name, acl, user string) *v1alpha1.Grant {
	return &v1alpha1.Grant{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 1},
		Spec: v1alpha1.GrantSpec{
			ACL: acl, Actions: []v1alpha1.Action{v1alpha1.ActionRead},
			Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
		},
	}
}

func mayRead(s *Store, user, job string) bool {
	return s.Snapshot().Decide(effective.Query{
		User: effective.UserSubject(user), Resource: permission.JobResource("metronome", job),
		AnyOf: permission.Read, At: noon,
	}).Allowed
}

func TestQueue_events(t *testing.T) {
	t.Parallel()
	first := makeGrant("g", "dev", "alice")
	sameName := makeGrant("g", "dev", "bob")
	sameName.UID = "another"
	labelled := makeGrant("g", "dev", "alice")
	labelled.Labels = map[string]string{"team": "a"}
	leaving := makeGrant("g", "dev", "alice")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	cases := map[string]struct {
		event   func(toolscache.ResourceEventHandler)
		waiting int
		alice   bool
		bob     bool
	}{
		"nothing":                           {event: func(toolscache.ResourceEventHandler) {}, alice: true},
		"labels are no change":              {event: func(h toolscache.ResourceEventHandler) { h.OnUpdate(first, labelled) }, alice: true},
		"an object that is being deleted":   {event: func(h toolscache.ResourceEventHandler) { h.OnUpdate(first, leaving) }, waiting: 1},
		"a deletion":                        {event: func(h toolscache.ResourceEventHandler) { h.OnDelete(first) }, waiting: 1},
		"a missed deletion":                 {event: func(h toolscache.ResourceEventHandler) { h.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "g"}) }, waiting: 1},
		"something that has no name at all": {event: func(h toolscache.ResourceEventHandler) { h.OnDelete("?") }, waiting: 1, alice: true},
		"another object of the same name and generation": {
			event: func(h toolscache.ResourceEventHandler) { h.OnUpdate(first, sameName) }, waiting: 1, bob: true,
		},
		"the last of several events counts": {
			event: func(h toolscache.ResourceEventHandler) {
				h.OnDelete(first)
				h.OnAdd(first, false)
				h.OnUpdate(first, sameName)
			},
			waiting: 1, bob: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := loaded(t, pendingACL("dev", "dev"), pending{objectKey{kindGrant, "g"}, first})
			tc.event(s.queue.handler(kindGrant))
			events := s.queue.take()
			if len(events) != tc.waiting {
				t.Errorf("%d events wait, want %d", len(events), tc.waiting)
			}
			s.apply(t.Context(), events)
			if got := mayRead(s, "alice", "dev"); got != tc.alice {
				t.Errorf("alice may read: %t, want %t", got, tc.alice)
			}
			if got := mayRead(s, "bob", "dev"); got != tc.bob {
				t.Errorf("bob may read: %t, want %t", got, tc.bob)
			}
		})
	}
}

func TestQueue_deletionsOfEveryKind(t *testing.T) {
	t.Parallel()
	devs := &v1alpha1.Group{
		ObjectMeta: metav1.ObjectMeta{Name: "devs"},
		Spec:       v1alpha1.GroupSpec{Members: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}}},
	}
	s := loaded(t, pendingACL("dev", "dev"), pending{objectKey{kindGrant, "g"}, makeGrant("g", "dev", "alice")},
		pending{objectKey{kindGroup, "devs"}, devs})
	if got, want := s.Snapshot().Counts(), (effective.Counts{ACLs: 1, Grants: 1, Groups: 1, Subjects: 1}); got != want {
		t.Fatalf("the snapshot holds %+v, want %+v", got, want)
	}
	s.apply(t.Context(), []pending{
		{objectKey: objectKey{kindACL, "dev"}},
		{objectKey: objectKey{kindGrant, "g"}},
		{objectKey: objectKey{kindGroup, "devs"}},
		{objectKey: objectKey{kind(99), "odd"}},
	})
	if got := s.Snapshot().Counts(); got != (effective.Counts{}) {
		t.Errorf("the snapshot holds %+v, want nothing", got)
	}
}

func TestStart_failsWithoutInformers(t *testing.T) {
	t.Parallel()
	refused := errors.New("no such kind")
	s := New(&informertest.FakeInformers{Scheme: grantrytesting.Scheme, Error: refused}, clocktesting.NewFakeClock(noon))
	if err := s.Start(t.Context()); !errors.Is(err, refused) {
		t.Errorf("Start() = %v, want %v", err, refused)
	}
	if s.Synced() {
		t.Error("the store says that it is synced")
	}
}

// manyEvents are a Grant of its own for each of n users, on n/100 ACLs.
func manyEvents(n int) []pending {
	all := make([]pending, 0, n+n/100+1)
	for i := range n/100 + 1 {
		all = append(all, pendingACL(fmt.Sprintf("acl%d", i), fmt.Sprintf("dev.p%d", i)))
	}
	for i := range n {
		name := fmt.Sprintf("g%d", i)
		all = append(all, pending{objectKey{kindGrant, name}, makeGrant(name, fmt.Sprintf("acl%d", i/100), fmt.Sprintf("user%d", i%(n/10+1)))})
	}
	return all
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			all := manyEvents(n)
			for b.Loop() {
				loaded(b, all...)
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	s := loaded(b, manyEvents(100_000)...)
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			events := make([]pending, n)
			for i := range events {
				name := fmt.Sprintf("g%d", i)
				events[i] = pending{objectKey{kindGrant, name}, makeGrant(name, fmt.Sprintf("acl%d", i), "alice")}
			}
			for b.Loop() {
				s.apply(b.Context(), events)
			}
		})
	}
}
