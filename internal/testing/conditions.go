package testing

import (
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
)

// reported is what a status says about an object, for CheckConditions.
type reported struct {
	ObservedGeneration int64
	Conditions         []metav1.Condition
	Reasons            sets.Set[string] // that Ready may have
}

// reportedOf reads the status of our kinds.
func reportedOf(tb testing.TB, obj client.Object) reported {
	tb.Helper()
	switch o := obj.(type) {
	case *v1alpha1.ACL:
		return reported{o.Status.ObservedGeneration, o.Status.Conditions, sets.New(
			v1alpha1.ReasonInForce, v1alpha1.ReasonResourceMalformed, v1alpha1.ReasonNotValidated)}
	case *v1alpha1.Grant:
		return reported{o.Status.ObservedGeneration, o.Status.Conditions, sets.New(
			v1alpha1.ReasonInForce, v1alpha1.ReasonACLNotFound, v1alpha1.ReasonACLNotReady,
			v1alpha1.ReasonNotYetInForce, v1alpha1.ReasonExpired, v1alpha1.ReasonSubjectEmpty, v1alpha1.ReasonActionIgnored,
			v1alpha1.ReasonNotValidated, v1alpha1.ReasonRevoked)}
	case *v1alpha1.Group:
		return reported{o.Status.ObservedGeneration, o.Status.Conditions, sets.New(
			v1alpha1.ReasonInForce, v1alpha1.ReasonSubjectEmpty, v1alpha1.ReasonNotValidated)}
	case *v1alpha1.Job:
		return reported{o.Status.ObservedGeneration, o.Status.Conditions, sets.New(
			v1alpha1.ReasonAccepted, v1alpha1.ReasonSpecInvalid, v1alpha1.ReasonOwnerMissing)}
	case *v1alpha1.JobRun:
		return reported{o.Status.ObservedGeneration, o.Status.Conditions, sets.New(
			v1alpha1.ReasonLaunched, v1alpha1.ReasonWaiting, v1alpha1.ReasonRejected, v1alpha1.ReasonStopped)}
	}
	tb.Fatalf("%T has no conditions that are known here", obj)
	return reported{}
}

// Condition is one of an object of ours, or nil.
func Condition(tb testing.TB, obj client.Object, kind string) *metav1.Condition {
	tb.Helper()
	return meta.FindStatusCondition(reportedOf(tb, obj).Conditions, kind)
}

// ReadyReasons are those that Ready may have on an object of ours.
func ReadyReasons(tb testing.TB, obj client.Object) sets.Set[string] {
	tb.Helper()
	return reportedOf(tb, obj).Reasons
}

// CheckConditions reports what must never be seen on an object that its controller has reconciled,
// whatever state it is in: what Flux, Argo CD and `kubectl wait` would misread.
func CheckConditions(tb testing.TB, objs ...client.Object) {
	tb.Helper()
	for _, obj := range objs {
		name := client.ObjectKeyFromObject(obj).String()
		for _, wrong := range wrongWith(reportedOf(tb, obj), obj.GetGeneration()) {
			tb.Errorf("%T %s: %s", obj, name, wrong)
		}
	}
}

// wrongWith lists the rules that a status breaks.
func wrongWith(r reported, generation int64) (wrong []string) {
	if r.ObservedGeneration > generation {
		wrong = append(wrong, "the status speaks of a generation that does not exist yet")
	}
	seen := map[string]metav1.Condition{}
	for _, c := range r.Conditions {
		if _, twice := seen[c.Type]; twice {
			wrong = append(wrong, "two conditions have the type "+c.Type)
		}
		seen[c.Type] = c
		if c.ObservedGeneration > generation {
			wrong = append(wrong, c.Type+" speaks of a generation that does not exist yet")
		}
		if c.LastTransitionTime.IsZero() {
			wrong = append(wrong, c.Type+" does not say since when")
		}
		if len(c.Message) > conditions.MaxMessageBytes || !utf8.ValidString(c.Message) {
			wrong = append(wrong, c.Type+" has a message that is too long or no text")
		}
	}
	ready, found := seen[v1alpha1.ConditionReady]
	switch {
	case !found:
		return append(wrong, "Ready is missing")
	case !r.Reasons.Has(ready.Reason):
		wrong = append(wrong, "Ready has the undeclared reason "+ready.Reason)
	case ready.Message == "":
		wrong = append(wrong, "Ready says nothing")
	}
	if stalled, found := seen[v1alpha1.ConditionStalled]; found {
		if stalled.Status != metav1.ConditionTrue {
			wrong = append(wrong, "Stalled is there without being True")
		}
		if ready.Status == metav1.ConditionTrue {
			wrong = append(wrong, "it is Ready and Stalled at once")
		}
	}
	return wrong
}
