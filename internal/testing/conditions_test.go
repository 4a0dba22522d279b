package testing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

func TestWrongWith_noticesEachBrokenRule(t *testing.T) {
	t.Parallel()
	since := metav1.NewTime(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	condition := func(kind string, status metav1.ConditionStatus, change func(*metav1.Condition)) metav1.Condition {
		c := metav1.Condition{
			Type: kind, Status: status, Reason: "Known", Message: "Text.", ObservedGeneration: 2, LastTransitionTime: since,
		}
		if change != nil {
			change(&c)
		}
		return c
	}
	ready := condition("Ready", metav1.ConditionTrue, nil)
	cases := map[string]struct {
		conditions []metav1.Condition
		observed   int64
		want       []string
	}{
		"a good one":   {conditions: []metav1.Condition{ready}, observed: 2},
		"no condition": {observed: 2, want: []string{"Ready is missing"}},
		"from the future": {
			conditions: []metav1.Condition{condition("Ready", "True", func(c *metav1.Condition) { c.ObservedGeneration = 3 })},
			observed:   3,
			want: []string{
				"the status speaks of a generation that does not exist yet",
				"Ready speaks of a generation that does not exist yet",
			},
		},
		"twice": {
			conditions: []metav1.Condition{ready, ready}, observed: 2,
			want: []string{"two conditions have the type Ready"},
		},
		"an unknown reason": {
			conditions: []metav1.Condition{condition("Ready", "True", func(c *metav1.Condition) { c.Reason = "Odd" })}, observed: 2,
			want: []string{"Ready has the undeclared reason Odd"},
		},
		"nothing said": {
			conditions: []metav1.Condition{condition("Ready", "True", func(c *metav1.Condition) { c.Message = "" })}, observed: 2,
			want: []string{"Ready says nothing"},
		},
		"no time and no text": {
			conditions: []metav1.Condition{condition("Ready", "True", func(c *metav1.Condition) {
				c.LastTransitionTime, c.Message = metav1.Time{}, "\xff"
			})},
			observed: 2,
			want:     []string{"Ready does not say since when", "Ready has a message that is too long or no text"},
		},
		"ready and stalled": {
			conditions: []metav1.Condition{ready, condition("Stalled", metav1.ConditionTrue, nil)}, observed: 2,
			want: []string{"it is Ready and Stalled at once"},
		},
		"stalled without being so": {
			conditions: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, nil), condition("Stalled", metav1.ConditionFalse, nil),
			},
			observed: 2,
			want:     []string{"Stalled is there without being True"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := wrongWith(reported{tc.observed, tc.conditions, sets.New("Known")}, 2)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("wrongWith() (-want +got):\n%s", diff)
			}
		})
	}
}
