package controllers

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
)

// Who may read the events of a namespace may not be allowed to read its Jobs, and no ACL or Grant at all; those of Grants
// are in the namespace default. So an event says what happened, and what names a Grant is left to the conditions.
const (
	noteMissing = "the condition Authorized says what is missing"
	noteLost    = "Who wrote this Grant has the authority for it no more: the condition GranterLostAuthority says more."
	noteAgain   = "Who wrote this Grant has the authority for it again."
	// noteLimit is how many bytes of a note an API server takes.
	noteLimit = 1024
)

// launchEvents and runEvents are the reasons for which runs have events, and grantEvents those of Grants, with the
// events' types. docs/operations/events.md tells what each means.
var (
	launchEvents = map[string]string{
		v1alpha1.ReasonNotGranted:      corev1.EventTypeWarning,
		v1alpha1.ReasonOwnerMissing:    corev1.EventTypeWarning,
		v1alpha1.ReasonPolicyNotSynced: corev1.EventTypeWarning,
	}
	runEvents = map[string]string{
		v1alpha1.StateSuspended:                corev1.EventTypeWarning,
		v1alpha1.StateFailed:                   corev1.EventTypeWarning,
		v1alpha1.StateRevoked:                  corev1.EventTypeWarning,
		v1alpha1.StateRejected:                 corev1.EventTypeWarning,
		v1alpha1.StateStartingDeadlineExceeded: corev1.EventTypeWarning,
		v1alpha1.StateStopped:                  corev1.EventTypeNormal,
	}
	grantEvents = map[string]string{
		v1alpha1.ReasonReported: corev1.EventTypeWarning,
		v1alpha1.ReasonRevoked:  corev1.EventTypeWarning,
		v1alpha1.ReasonInForce:  corev1.EventTypeNormal,
	}
)

// tell emits an event where the run's state changed for the worse: a launch that goes as it should is
// told by the status and by the child's own events.
func (r *JobRunReconciler) tell(before, after *v1alpha1.JobRun, in runInput) {
	is, c := runState(after), succeeded(after)
	switch {
	case c == nil:
	case is == v1alpha1.StatePending && in.Job != nil && !in.Verdict.Allowed && succeeded(before) == nil:
		if kind, told := launchEvents[in.Verdict.Reason]; told {
			r.Recorder.Eventf(after, in.Job, kind, in.Verdict.Reason, "Launch", "Not launched yet: %s", noteMissing)
		}
	case is != runState(before):
		if kind, told := runEvents[is]; told {
			var related runtime.Object // nil itself, not a nil *batchv1.Job, for a run without a child
			if in.Child != nil && kind == corev1.EventTypeWarning {
				related = in.Child
			}
			r.Recorder.Eventf(after, related, kind, is, "Run", "%s", note(c.Message, in))
		}
	}
}

// note is a run's message without what the verdicts say of the policy, as long as an event may have it.
func note(message string, in runInput) string {
	verdicts := []verdict{in.Verdict}
	if in.Live != nil {
		verdicts = append(verdicts, in.Live.Verdict)
	}
	for _, v := range verdicts {
		if !v.Allowed && v.Message != "" {
			message = strings.ReplaceAll(message, v.Message, noteMissing)
		}
	}
	return conditions.Truncate(message, noteLimit)
}

// tell sends an event when the granter loses authority, or has it again.
func (r *GrantReconciler) tell(before, after *v1alpha1.Grant) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionGranterLostAuthority)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionGranterLostAuthority)
	reason, text := "", noteLost
	switch {
	case is != nil && (was == nil || was.Reason != is.Reason):
		reason = is.Reason
	case was != nil && is == nil:
		reason, text = v1alpha1.ReasonInForce, noteAgain
	}
	if kind, told := grantEvents[reason]; told {
		r.Recorder.Eventf(after, nil, kind, reason, "Validate", "%s", text)
	}
}
