package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// TestDueTimes_theClockIsSet: whatever was said by a clock that was wrong, each Job is looked at again once it is right.
func TestDueTimes_theClockIsSet(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	soon, later := types.NamespacedName{Name: "soon"}, types.NamespacedName{Name: "later"}
	for _, tc := range []struct {
		name string
		now  time.Time
		want []types.NamespacedName
		next time.Duration
	}{
		{name: "it goes on", now: noon.Add(30 * time.Second), next: 30 * time.Second},
		{name: "a time has come", now: noon.Add(time.Minute), want: []types.NamespacedName{soon}, next: time.Hour - time.Minute},
		{name: "it was set forward", now: noon.Add(2 * time.Hour), want: []types.NamespacedName{soon, later}, next: -1},
		{name: "it was put right by less than it is read", now: noon.Add(-clockCheck), next: time.Minute + clockCheck},
		{name: "it was set back", now: noon.Add(-2 * time.Hour), want: []types.NamespacedName{soon, later}, next: -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := &dueTimes{}
			d.set(later, noon.Add(time.Hour))
			d.set(soon, noon.Add(time.Minute))
			if due, _ := d.take(noon); len(due) > 0 {
				t.Fatalf("due at once: %v", due)
			}
			due, next := d.take(tc.now)
			if diff := cmp.Diff(tc.want, due); diff != "" || next != tc.next {
				t.Errorf("next in %s, want %s; due (-want +got)\n%s", next, tc.next, diff)
			}
		})
	}
}

// TestDueTimes_theMonotonicReading: a machine's clock that is set leaves it alone, and it must not be compared by.
func TestDueTimes_theMonotonicReading(t *testing.T) {
	t.Parallel()
	d, job := &dueTimes{}, types.NamespacedName{Name: "job"}
	now := time.Now()
	d.set(job, now.Add(time.Hour))
	d.take(now)
	if due, _ := d.take(now.Add(-2 * time.Hour)); len(due) != 1 { // Add moves both readings
		t.Errorf("due %v", due)
	}
	if d.seen != d.seen.Round(0) {
		t.Error("the monotonic reading was kept")
	}
}
