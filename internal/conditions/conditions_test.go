package conditions_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/internal/conditions"
)

var (
	monday  = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	tuesday = monday.Add(24 * time.Hour)
)

func condition(kind string, status metav1.ConditionStatus, reason string, generation int64, at time.Time) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: reason + ".",
		ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(at),
	}
}

func TestSummarize_readyAndStalledNeverContradict(t *testing.T) {
	t.Parallel()
	broken := condition("Ready", metav1.ConditionFalse, "Broken", 1, monday)
	stalled := condition("Stalled", metav1.ConditionTrue, "Broken", 1, monday)
	other := condition("Authorized", metav1.ConditionTrue, "Granted", 1, monday)
	cases := map[string]struct {
		before  []metav1.Condition
		summary conditions.Summary
		want    []metav1.Condition
	}{
		"a first look sets Ready alone": {
			summary: conditions.Summary{Status: metav1.ConditionTrue, Reason: "InForce", Message: "InForce."},
			want:    []metav1.Condition{condition("Ready", metav1.ConditionTrue, "InForce", 2, tuesday)},
		},
		"who must act is told by Stalled": {
			summary: conditions.Summary{Status: metav1.ConditionFalse, Reason: "Broken", Message: "Broken.", Stalled: true},
			want: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, "Broken", 2, tuesday),
				condition("Stalled", metav1.ConditionTrue, "Broken", 2, tuesday),
			},
		},
		"Stalled goes once it is not True": {
			before:  []metav1.Condition{broken, stalled, other},
			summary: conditions.Summary{Status: metav1.ConditionTrue, Reason: "InForce", Message: "InForce."},
			want:    []metav1.Condition{condition("Ready", metav1.ConditionTrue, "InForce", 2, tuesday), other},
		},
		"the transition time stays while the status stays": {
			before:  []metav1.Condition{broken, stalled},
			summary: conditions.Summary{Status: metav1.ConditionFalse, Reason: "Worse", Message: "Worse.", Stalled: true},
			want: []metav1.Condition{
				condition("Ready", metav1.ConditionFalse, "Worse", 2, monday),
				condition("Stalled", metav1.ConditionTrue, "Worse", 2, monday),
			},
		},
		"nothing that is Ready is Stalled": {
			summary: conditions.Summary{Status: metav1.ConditionTrue, Reason: "InForce", Message: "InForce.", Stalled: true},
			want:    []metav1.Condition{condition("Ready", metav1.ConditionTrue, "InForce", 2, tuesday)},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := append([]metav1.Condition(nil), tc.before...)
			conditions.Summarize(&got, tc.summary, 2, tuesday)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Summarize() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSet_cutsMessages(t *testing.T) {
	t.Parallel()
	var conds []metav1.Condition
	conditions.Set(&conds, metav1.Condition{
		Type: "Ready", Status: metav1.ConditionFalse, Reason: "Long",
		Message: strings.Repeat("ü", conditions.MaxMessageBytes),
	}, monday)
	if got := len(conds[0].Message); got > conditions.MaxMessageBytes || got < conditions.MaxMessageBytes-8 {
		t.Errorf("the message has %d bytes, want just under %d", got, conditions.MaxMessageBytes)
	}
	if !utf8.ValidString(conds[0].Message) {
		t.Error("the message is cut inside a character")
	}
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in    string
		limit int
		want  string
	}{
		"what fits stays":                  {in: "grüße", limit: 7, want: "grüße"},
		"a cut shows":                      {in: "abcdefgh", limit: 6, want: "abc…"},
		"a character is kept whole":        {in: "abüdefgh", limit: 6, want: "ab…"},
		"a limit below the ellipsis":       {in: "abcdef", limit: 2, want: ""},
		"a limit of the ellipsis's length": {in: "abcdef", limit: 3, want: "…"},
		"a limit of nothing":               {in: "abcdef", limit: 0, want: ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := conditions.Truncate(tc.in, tc.limit); got != tc.want {
				t.Errorf("Truncate(%q, %d) = %q, want %q", tc.in, tc.limit, got, tc.want)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		items []string
		want  string
	}{
		"nothing":            {want: ""},
		"one":                {items: []string{"a"}, want: "a"},
		"as many as allowed": {items: []string{"a", "b"}, want: "a, b"},
		"more than allowed":  {items: []string{"a", "b", "c", "d", "e"}, want: "a, b and 3 more"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := conditions.List(tc.items, 2); got != tc.want {
				t.Errorf("List(%q, 2) = %q, want %q", tc.items, got, tc.want)
			}
		})
	}
}
