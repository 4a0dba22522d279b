package controllers

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/policystore"
)

// movedClock goes as the real one does, and can be set forward: nobody waits for the next minute.
type movedClock struct {
	clock.RealClock
	ahead atomic.Int64
}

func (c *movedClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *movedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// nextMinute sets the clock to just before the next full minute, and returns that.
func (c *movedClock) nextMinute() time.Time {
	next := c.Now().Truncate(time.Minute).Add(time.Minute)
	c.ahead.Add(int64(next.Sub(c.Now()) - 200*time.Millisecond))
	return next.UTC()
}

// startScheduler runs the Job and the JobRun reconciler by a clock of the test's own. What the test leaves is
// deleted: a schedule would go on under the managers of other tests.
func startScheduler(t *testing.T) (*story, *movedClock) {
	t.Helper()
	moved := &movedClock{}
	w := startManager(t, func(mgr ctrl.Manager, store *policystore.Store) error {
		gate := &LaunchGate{
			Policy: store, Clock: clock.RealClock{}, Mode: ModePermissive, DefaultInstance: "metronome", fresh: newFreshReader(mgr.GetAPIReader()),
		}
		children := batchjob.Options{DefaultImage: "busybox"}
		jobs := &JobReconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Gate: gate, Clock: moved, Options: children}
		if err := jobs.SetupWithManager(mgr, 4); err != nil {
			return err
		}
		return (&JobRunReconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Gate: gate, Clock: moved, Options: children, Recorder: mgr.GetEventRecorder("grantry"),
		}).SetupWithManager(mgr, 4)
	})
	s := &story{w, t}
	t.Cleanup(func() {
		if err := s.DeleteAllOf(context.WithoutCancel(t.Context()), &v1alpha1.Job{}, client.InNamespace(s.Namespace)); err != nil {
			t.Error(err)
		}
	})
	return s, moved
}

func everyMinute(job *v1alpha1.Job) {
	job.Spec.Schedules = []v1alpha1.Schedule{{ID: "minutely", Cron: "* * * * *", Timezone: "Europe/Berlin"}}
}

// scheduled waits for the run of a time.
func (s *story) scheduled(job *v1alpha1.Job, at time.Time) *v1alpha1.JobRun {
	s.t.Helper()
	run := &v1alpha1.JobRun{}
	key := types.NamespacedName{Namespace: job.Namespace, Name: batchjob.ScheduledRunName(job, job.Spec.Schedules[0].ID, at)}
	s.Eventually(func() error { return s.Get(s.t.Context(), key, run) }).Should(Succeed(), "the run of %s", at)
	return run
}

func TestSchedules_aRunAtItsTime(t *testing.T) {
	s, moved := startScheduler(t)
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", everyMinute)
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "the Job is accepted")
	s.Expect(job.Status.NextRunAt).NotTo(BeNil(), "it says when it runs next")
	s.Expect(s.runs(t)).To(BeEmpty())

	at := moved.nextMinute()
	run := s.scheduled(job, at)
	s.Expect(run.Spec.Trigger).To(Equal(v1alpha1.TriggerSchedule))
	s.Expect(run.Spec.Schedule).To(Equal("minutely"))
	s.Expect(run.Spec.ScheduledAt.Time).To(BeTemporally("==", at))
	s.launched(t, run)
	s.Eventually(func() *metav1.Time { s.says(t, job, "")(); return job.Status.NextRunAt }).
		Should(HaveField("Time", BeTemporally("==", at.Add(time.Minute))), "it says when it runs next")
	s.Expect(job.Status.Schedules[0].LastScheduledAt.Time).To(BeTemporally("==", at))

	// A run that is deleted stays so, also if its Job is looked at again.
	s.Expect(s.Delete(t.Context(), run)).To(Succeed())
	s.change(t, job, func() { job.Spec.Description = "edited" })
	s.Eventually(func() int64 { s.says(t, job, "")(); return job.Status.ObservedGeneration }).Should(Equal(job.Generation), "the edit is seen")
	s.Consistently(func() int { return len(s.runs(t)) }).Should(BeZero(), "it does not come again")
	s.scheduled(job, moved.nextMinute())

	s.change(t, job, func() { job.Spec.Suspend = true })
	s.Eventually(func() *metav1.Time { s.says(t, job, "")(); return job.Status.NextRunAt }).Should(BeNil(), "suspended: no next time")
	s.invariants(t)
}

// Revoked owner: the next due run is not launched, and says why. Granted again: the next one runs.
func TestSchedules_revokedAndGranted(t *testing.T) {
	s, moved := startScheduler(t)
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", everyMinute)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "it is allowed at first")
	s.launched(t, s.scheduled(job, moved.nextMinute()))

	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "permission went")
	at := moved.nextMinute()
	waiting := s.scheduled(job, at)
	s.expectState(t, waiting, v1alpha1.StatePending, "user alice may not")
	s.Expect(s.says(t, waiting, v1alpha1.ConditionAuthorized)()).To(HavePrefix("False NotGranted: "))

	// The times after that are passed over, and the Job says so: there is no burst when permission is back.
	next := moved.nextMinute()
	s.Eventually(func() *v1alpha1.SkippedTime { s.says(t, job, "")(); return job.Status.Schedules[0].LastSkipped }).
		Should(HaveValue(Equal(v1alpha1.SkippedTime{At: metav1.NewTime(next.Local()), Reason: v1alpha1.SkipRunWaiting})), "the Job says what it skipped")
	s.Expect(s.child(t, waiting)).To(BeNil(), "it is not launched")
	s.Expect(s.runs(t)).To(HaveLen(2))

	s.grantBack(t)
	s.launched(t, waiting)
	s.launched(t, s.scheduled(job, moved.nextMinute()))
	s.invariants(t)
}

// Revoked owner: the next due run is not launched, the run says why, and history shows it, also when it has waited for
// too long. Granted again: the next one runs.
func TestSchedules_revokedUntilTheDeadline(t *testing.T) {
	s, moved := startScheduler(t)
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", everyMinute, func(j *v1alpha1.Job) { j.Spec.Schedules[0].StartingDeadlineSeconds = new(int64(60)) })
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "it is allowed at first")
	first := s.scheduled(job, moved.nextMinute())
	s.play(t, first, begins, succeeds)
	s.expectState(t, first, v1alpha1.StateSuccess)

	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "permission went")
	revoked := s.scheduled(job, moved.nextMinute())
	s.expectState(t, revoked, v1alpha1.StatePending, "user alice may not")
	told := func() string {
		s.says(t, job, "")()
		last := job.Status.LastRun
		return fmt.Sprintf("%d succeeded, %d failed, last %s %s: %s", job.Status.SuccessCount, job.Status.FailureCount, last.Name, last.State, last.Message)
	}
	s.Eventually(told).Should(HavePrefix("1 succeeded, 0 failed, last "+revoked.Name+" Pending: user alice may not"), "the Job says what its latest run waits for")

	passedOver := moved.nextMinute()
	s.Eventually(func() *v1alpha1.SkippedTime { s.says(t, job, "")(); return job.Status.Schedules[0].LastSkipped }).
		Should(HaveValue(HaveField("At.Time", BeTemporally("==", passedOver))), "the next time is passed over")
	moved.ahead.Add(int64(2 * time.Second))                         // the deadline has passed
	s.change(t, job, func() { job.Spec.Description = "looked at" }) // the run's own timer goes by the real clock
	s.expectState(t, revoked, v1alpha1.StateStartingDeadlineExceeded, "Not launched within 60 seconds: user alice may not")
	s.Expect(s.child(t, revoked)).To(BeNil(), "it was not launched")
	s.Eventually(told).Should(HavePrefix("1 succeeded, 1 failed, last "), "history counts it")
	s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(revoked), revoked)).To(Succeed(), "and keeps it")

	// The next one waits in turn, and the grant comes in time for it.
	waiting := s.scheduled(job, moved.nextMinute())
	s.expectState(t, waiting, v1alpha1.StatePending, "user alice may not")
	s.grantBack(t)
	s.launched(t, waiting)
	s.launched(t, s.scheduled(job, moved.nextMinute()))
	s.invariants(t)
}

// A definition that can't be honoured says so, and the schedules that can be do run.
func TestSchedules_mistakes(t *testing.T) {
	s, moved := startScheduler(t)
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", everyMinute, func(j *v1alpha1.Job) {
		j.Spec.Schedules = append(j.Spec.Schedules, v1alpha1.Schedule{ID: "never", Cron: "0 0 30 2 *"}, v1alpha1.Schedule{ID: "mars", Cron: "0 0 * * *", Timezone: "Mars/Olympus"})
	})
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(Equal(
		`False SpecInvalid: spec.schedules[1].cron: Invalid value: "0 0 30 2 *": it never comes: no month of "2" has a day "30"; ` +
			`spec.schedules[2].timezone: Invalid value: "Mars/Olympus": "Mars/Olympus" is not an IANA time zone, such as Europe/Berlin`))
	s.launched(t, s.scheduled(job, moved.nextMinute()))
	s.change(t, job, func() { job.Spec.Schedules = job.Spec.Schedules[:1] })
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "it is mended")
	s.invariants(t)
}

func dependsOn(ids ...string) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) {
		for _, id := range ids {
			job.Spec.Dependencies = append(job.Spec.Dependencies, v1alpha1.Dependency{ID: id})
		}
	}
}

// runsOf are the names of the runs of a Job.
func (s *story) runsOf(t *testing.T, job string) (list []v1alpha1.JobRun) {
	t.Helper()
	for _, run := range s.runs(t) {
		if run.Spec.Job == job {
			list = append(list, run)
		}
	}
	return list
}

// Metronome's documented example: Z depends on A and B.
func TestDependencies_metronomesExample(t *testing.T) {
	s, _ := startScheduler(t)
	s.grant(t, "dev", v1alpha1.ActionRun)
	onDemand := startPolicy(v1alpha1.StartOnDemand)
	s.job(t, "dev.a", onDemand)
	s.job(t, "dev.b", onDemand, func(j *v1alpha1.Job) { j.Spec.SuccessfulRunsHistoryLimit = new(int32(0)) })
	z := s.job(t, "dev.z", dependsOn("dev.a", "dev.b"))
	s.Eventually(s.says(t, z, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "the Job is accepted")
	ofZ := func() []v1alpha1.JobRun { return s.runsOf(t, "dev.z") }

	a1 := s.runNow(t, "dev.a", "a1")
	s.play(t, a1, begins, succeeds)
	s.expectState(t, a1, v1alpha1.StateSuccess)
	s.Consistently(ofZ).Should(BeEmpty(), "B has not run")
	s.play(t, s.runNow(t, "dev.b", "b1"), begins, succeeds)
	s.Eventually(ofZ).Should(HaveLen(1), "both have succeeded")
	z1 := ofZ()[0]
	s.Expect(z1.Spec.Trigger).To(Equal(v1alpha1.TriggerDependency))
	s.Eventually(func() []v1alpha1.JobRun { return s.runsOf(t, "dev.b") }).Should(BeEmpty(), "B keeps no history")

	// Z fails, is deleted, is edited: the same runs of A and B do not run it again.
	s.play(t, &z1, begins, fails)
	s.expectState(t, &z1, v1alpha1.StateFailed)
	s.Expect(s.Delete(t.Context(), &z1)).To(Succeed())
	s.change(t, z, func() { z.Spec.Description = "edited" })
	s.Consistently(ofZ).Should(BeEmpty(), "it does not come again")

	// A runs again, badly, and then well.
	a2 := s.runNow(t, "dev.a", "a2")
	s.play(t, a2, begins, fails)
	s.expectState(t, a2, v1alpha1.StateFailed)
	s.Consistently(ofZ).Should(BeEmpty(), "A's latest run has failed")
	s.play(t, s.runNow(t, "dev.a", "a3"), begins, succeeds)
	s.Eventually(ofZ).Should(HaveLen(1), "A has succeeded again")
	z2 := ofZ()[0]
	s.play(t, &z2, begins, succeeds)
	s.expectState(t, &z2, v1alpha1.StateSuccess)
	s.Consistently(ofZ).Should(HaveLen(1), "Z has succeeded since")
	s.invariants(t)
}

func TestDependencies_unknownAndCyclic(t *testing.T) {
	s, _ := startScheduler(t)
	a := s.job(t, "dev.a", dependsOn("dev.c"))
	b := s.job(t, "dev.b", dependsOn("dev.a"))
	s.Eventually(s.says(t, a, v1alpha1.ConditionReady)).Should(Equal(
		`False SpecInvalid: spec.dependencies[0].id: Invalid value: "dev.c": there is no such Job in namespace ` + s.Namespace + `: create it first`))
	s.Eventually(s.says(t, b, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "what it depends on exists")

	c := s.job(t, "dev.c", dependsOn("dev.b"))
	for _, job := range []*v1alpha1.Job{a, b, c} {
		s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(ContainSubstring("it depends on this Job in turn"), "%s is in a circle", job.Name)
	}
	s.change(t, c, func() { c.Spec.Dependencies = nil })
	for _, job := range []*v1alpha1.Job{a, b, c} {
		s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "%s is in no circle any more", job.Name)
	}
	s.Expect(s.Delete(t.Context(), c)).To(Succeed())
	s.Eventually(s.says(t, a, v1alpha1.ConditionReady)).Should(ContainSubstring("there is no such Job"), "it is gone again")
	s.Eventually(func() bool { return apierrors.IsNotFound(s.Get(t.Context(), client.ObjectKeyFromObject(c), c)) }).Should(BeTrue())
	s.invariants(t)
}
