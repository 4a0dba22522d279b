// Package conditions writes the conditions of our kinds: Ready, which is always there, Stalled, which
// is there only while a person must act, and whatever else a kind has.
//
// Every condition says of which generation it speaks, changes its LastTransitionTime only with its
// status, and keeps within the API's limit on messages. The time is an argument: nothing here reads
// a clock, so that one reconcile speaks of one moment.
package conditions

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// MaxMessageBytes is how much of a message is kept. The API allows 32768 characters; bytes are
// stricter, and are what etcd pays for.
const MaxMessageBytes = 32 << 10

const ellipsis = "…"

// Set adds or changes one condition. Its LastTransitionTime is now if the status changes, and stays
// otherwise; its message is cut to fit. Stalled is abnormal-true: any other status removes it.
func Set(conds *[]metav1.Condition, c metav1.Condition, now time.Time) {
	if c.Type == v1alpha1.ConditionStalled && c.Status != metav1.ConditionTrue {
		meta.RemoveStatusCondition(conds, c.Type)
		return
	}
	c.LastTransitionTime = metav1.NewTime(now)
	c.Message = Truncate(c.Message, MaxMessageBytes)
	meta.SetStatusCondition(conds, c)
}

// Summary is what an object's Ready says, and whether a person must act before it can be True.
type Summary struct {
	Status  metav1.ConditionStatus
	Reason  string
	Message string
	// Stalled must not be set on a Summary whose Status is True.
	Stalled bool
}

// Summarize sets Ready, and sets or removes Stalled with it: the two never contradict each other.
func Summarize(conds *[]metav1.Condition, s Summary, generation int64, now time.Time) {
	Set(conds, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: s.Status, Reason: s.Reason, Message: s.Message,
		ObservedGeneration: generation,
	}, now)
	stalled := metav1.ConditionFalse
	if s.Stalled && s.Status != metav1.ConditionTrue {
		stalled = metav1.ConditionTrue
	}
	Set(conds, metav1.Condition{
		Type: v1alpha1.ConditionStalled, Status: stalled, Reason: s.Reason, Message: s.Message,
		ObservedGeneration: generation,
	}, now)
}

// Truncate cuts s to at most limit bytes, between two characters, and shows by an ellipsis that it did.
func Truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	if limit < len(ellipsis) {
		return ""
	}
	cut := limit - len(ellipsis)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}

// List joins items with commas and names at most limit of them: "a, b and 3 more". The order is the
// caller's.
func List(items []string, limit int) string {
	if len(items) <= limit {
		return strings.Join(items, ", ")
	}
	return strings.Join(items[:limit], ", ") + " and " + strconv.Itoa(len(items)-limit) + " more"
}
