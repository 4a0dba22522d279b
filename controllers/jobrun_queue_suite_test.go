package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestQueuedRuns: the test plays Kueue, which this API server does not have; test/kueue has it.
func TestQueuedRuns(t *testing.T) {
	tell(t, startManager(t, everything(ModePermissive)), map[string]func(*story){
		"a child with a queue waits in it":                         storyQueue,
		"revoked while it waits: it is held back, and waits again": storyQueueRevoked,
	})
}

// queued creates a Job with a queue, and waits until its run waits there.
func (s *story) queued(t *testing.T, edits ...func(*v1alpha1.Job)) *v1alpha1.JobRun {
	t.Helper()
	queue := func(job *v1alpha1.Job) { job.Labels = map[string]string{"kueue.x-k8s.io/queue-name": "team"} }
	run := s.creationRun(t, s.job(t, "dev.job", append(edits, queue)...))
	child := s.launched(t, run)
	s.Expect(child.Labels).To(HaveKeyWithValue("kueue.x-k8s.io/queue-name", "team"))
	s.Expect(isSuspended(child)).To(BeTrue(), "it does not begin before Kueue has seen it")
	return run
}

// starts is Kueue, which has quota.
func (s *story) starts(t *testing.T, run *v1alpha1.JobRun) {
	t.Helper()
	child := s.child(t, run)
	s.change(t, child, func() { child.Spec.Suspend = new(false) })
}

func storyQueue(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.queued(t)
	s.expectState(t, run, v1alpha1.StateQueued, "Waits in the queue team (Kueue): Kueue is not installed, and so nobody starts it")
	s.starts(t, run)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
}

func storyQueueRevoked(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.queued(t)
	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	s.expectState(t, run, v1alpha1.StateSuspended, "Held back in its queue until permission is back: user alice may not")
	s.Eventually(func() bool { return isRevoked(s.child(t, run)) }).Should(BeTrue(), "Grantry's mark is on it")

	s.grantBack(t)
	s.Eventually(func() bool { return isRevoked(s.child(t, run)) }).Should(BeFalse(), "the mark is gone")
	s.Consistently(func() bool { return isSuspended(s.child(t, run)) }).Should(BeTrue(), "it is Kueue's to start it")
	s.starts(t, run)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(s.Delete(t.Context(), run, client.PropagationPolicy("Background"))).To(Succeed())
}
