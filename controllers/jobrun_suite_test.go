package controllers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// story is a world with one owner, alice, and a Job controller that the test plays: the API server of
// the tests has none, and no garbage collection either.
type story struct {
	*world
	t *testing.T
}

// everything sets up every reconciler, as the operator does.
func everything(mode SecurityMode) func(ctrl.Manager, *policystore.Store) error {
	return func(mgr ctrl.Manager, store *policystore.Store) error {
		return SetupAll(mgr, store, Settings{
			Mode: mode, DefaultInstance: "metronome",
			Children:   batchjob.Options{DefaultImage: "busybox", GPUResource: "nvidia.com/gpu"},
			JobWorkers: 4, RunWorkers: 4,
		})
	}
}

// grant lets alice do something with the jobs under a path, and returns the Grant.
func (s *story) grant(t *testing.T, path string, actions ...v1alpha1.Action) *v1alpha1.Grant {
	t.Helper()
	acl := s.acl(t, path)
	grant := makeGrant(s.Name("alice-"+path), acl.Name, "alice", actions...)
	s.create(t, grant)
	return grant
}

// acl protects the jobs under a path.
func (s *story) acl(t *testing.T, path string) *v1alpha1.ACL {
	t.Helper()
	acl := makeACL(s.Name(path), "dcos:service:metronome:"+s.Namespace+":jobs:"+path)
	s.create(t, acl)
	return acl
}

// job creates a Job of alice's.
func (s *story) job(t *testing.T, name string, edits ...func(*v1alpha1.Job)) *v1alpha1.Job {
	t.Helper()
	job := makeJob(s.Namespace, name, edits...)
	s.Expect(s.Create(t.Context(), job)).To(Succeed())
	return job
}

// runNow creates a run, as a user does.
func (s *story) runNow(t *testing.T, job, name string, edits ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
	t.Helper()
	run := makeRun(s.Namespace, name, job, edits...)
	s.Expect(s.Create(t.Context(), run)).To(Succeed())
	return run
}

// creationRun waits for the run that a Job's creation brings about.
func (s *story) creationRun(t *testing.T, job *v1alpha1.Job) *v1alpha1.JobRun {
	t.Helper()
	run := &v1alpha1.JobRun{}
	key := types.NamespacedName{Namespace: job.Namespace, Name: batchjob.CreationRunName(job)}
	s.Eventually(func() error { return s.Get(t.Context(), key, run) }).Should(Succeed(), "the run of the Job's creation")
	return run
}

// child is the batch/v1 Job of a run, or nil.
func (s *story) child(t *testing.T, run *v1alpha1.JobRun) *batchv1.Job {
	t.Helper()
	child := &batchv1.Job{}
	err := s.Get(t.Context(), types.NamespacedName{Namespace: run.Namespace, Name: batchjob.ChildName(run)}, child)
	if apierrors.IsNotFound(err) {
		return nil
	}
	s.Expect(err).NotTo(HaveOccurred())
	return child
}

// launched waits for the child of a run.
func (s *story) launched(t *testing.T, run *v1alpha1.JobRun) (child *batchv1.Job) {
	t.Helper()
	s.Eventually(func() *batchv1.Job { child = s.child(t, run); return child }).ShouldNot(BeNil(), "run %s is launched", run.Name)
	return child
}

// nothingIsLaunched watches that no child comes; wait first until the operator has looked at the run.
func (s *story) nothingIsLaunched(t *testing.T) {
	t.Helper()
	s.Consistently(func() []batchv1.Job { return s.children(t) }).Should(BeEmpty(), "nothing is launched")
}

func (s *story) children(t *testing.T) []batchv1.Job {
	t.Helper()
	list := &batchv1.JobList{}
	s.Expect(s.List(t.Context(), list, client.InNamespace(s.Namespace))).To(Succeed())
	return list.Items
}

func (s *story) runs(t *testing.T) []v1alpha1.JobRun {
	t.Helper()
	list := &v1alpha1.JobRunList{}
	s.Expect(s.List(t.Context(), list, client.InNamespace(s.Namespace))).To(Succeed())
	return list.Items
}

// says reads an object anew and returns a condition of it in short: "False NotGranted: why".
func (s *story) says(t *testing.T, obj client.Object, kind string) func() string {
	t.Helper()
	return func() string {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		c := grantrytesting.Condition(t, obj, kind)
		if c == nil {
			return ""
		}
		return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
}

func (s *story) expectState(t *testing.T, run *v1alpha1.JobRun, want string, why ...string) {
	t.Helper()
	s.Eventually(s.says(t, run, v1alpha1.ConditionSucceeded)).Should(ContainSubstring(" "+want+": "), "run %s is %s", run.Name, want)
	for _, part := range why {
		s.Eventually(s.says(t, run, v1alpha1.ConditionSucceeded)).Should(ContainSubstring(part), "run %s says why", run.Name)
	}
}

// waits expects a run to wait for a grant, to say what comes closest, and not to be launched.
func (s *story) waits(t *testing.T, run *v1alpha1.JobRun, why string) {
	t.Helper()
	s.expectState(t, run, v1alpha1.StatePending, why)
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("False NotGranted: "))
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Waiting: "))
	s.nothingIsLaunched(t)
}

// play writes the status of a child, as the Job controller does.
func (s *story) play(t *testing.T, run *v1alpha1.JobRun, acts ...func(*batchv1.JobStatus)) {
	t.Helper()
	s.launched(t, run)
	s.Eventually(func() error {
		child := s.child(t, run)
		if child == nil {
			return errors.New("the child is gone")
		}
		for _, act := range acts {
			act(&child.Status)
		}
		return s.Status().Update(t.Context(), child)
	}).Should(Succeed(), "play the Job controller for run %s", run.Name)
}

func begins(status *batchv1.JobStatus) {
	status.StartTime, status.Active = new(metav1.Now()), 1
}

func succeeds(status *batchv1.JobStatus) {
	now := metav1.Now()
	if status.StartTime == nil {
		status.StartTime = &now
	}
	status.Active, status.Succeeded, status.CompletionTime = 0, 1, &now
	for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
		status.Conditions = append(status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonCompletionsReached, LastTransitionTime: now,
		})
	}
}

func fails(status *batchv1.JobStatus) {
	now := metav1.Now()
	if status.StartTime == nil {
		status.StartTime = &now
	}
	status.Active, status.Failed = 0, 1
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed} {
		status.Conditions = append(status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded,
			Message: "Job has reached the specified backoff limit", LastTransitionTime: now,
		})
	}
}

// events are the notes of the events about an object.
func (s *story) events(t *testing.T, about client.Object) []string {
	t.Helper()
	list := &eventsv1.EventList{}
	s.Expect(s.List(t.Context(), list, client.InNamespace(s.Namespace))).To(Succeed())
	var notes []string
	for _, e := range list.Items {
		if e.Regarding.UID == about.GetUID() {
			notes = append(notes, e.Type+" "+e.Reason+": "+e.Note)
		}
	}
	return notes
}

// invariants checks what must hold of all Jobs and runs, in whatever state a story leaves them.
func (s *story) invariants(t *testing.T) {
	t.Helper()
	jobs := &v1alpha1.JobList{}
	s.Expect(s.List(t.Context(), jobs, client.InNamespace(s.Namespace))).To(Succeed())
	authorized := sets.New(
		v1alpha1.ReasonGranted, v1alpha1.ReasonGatingDisabled, v1alpha1.ReasonOwnerMissing, v1alpha1.ReasonNotGranted, v1alpha1.ReasonPolicyNotSynced)
	declared := func(obj client.Object, conditions []metav1.Condition, kind string, reasons sets.Set[string]) {
		t.Helper()
		c := meta.FindStatusCondition(conditions, kind)
		if c != nil && (!reasons.Has(c.Reason) || c.Message == "") {
			t.Errorf("%s: %s has the reason %q and the message %q", obj.GetName(), kind, c.Reason, c.Message)
		}
	}
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if len(job.Status.Conditions) > 0 {
			grantrytesting.CheckConditions(t, job)
			declared(job, job.Status.Conditions, v1alpha1.ConditionAuthorized, authorized)
			if job.Status.Grant != "" != meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionAuthorized) {
				t.Errorf("Job %s: the Grant is %q, Authorized is another thing", job.Name, job.Status.Grant)
			}
		}
	}
	states := sets.New(
		v1alpha1.StatePending, v1alpha1.StateStarting, v1alpha1.StateActive, v1alpha1.StateSuspended, v1alpha1.StateSuccess, v1alpha1.StateFailed,
		v1alpha1.StateStartingDeadlineExceeded, v1alpha1.StateStopped, v1alpha1.StateRevoked, v1alpha1.StateRejected)
	children := map[types.UID][]string{}
	for _, child := range s.children(t) {
		if owner := metav1.GetControllerOf(&child); owner != nil {
			children[owner.UID] = append(children[owner.UID], child.Name)
		}
	}
	for _, run := range s.runs(t) {
		if len(run.Status.Conditions) > 0 {
			grantrytesting.CheckConditions(t, &run)
			declared(&run, run.Status.Conditions, v1alpha1.ConditionAuthorized, authorized)
			declared(&run, run.Status.Conditions, v1alpha1.ConditionSucceeded, states)
		}
		if isFinished(&run) != (run.Status.FinishedAt != nil) {
			t.Errorf("run %s: finished is %v, at %v", run.Name, isFinished(&run), run.Status.FinishedAt)
		}
		if len(children[run.UID]) > 1 {
			t.Errorf("run %s has the children %v", run.Name, children[run.UID])
		}
		if run.Status.Child != nil && !meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionReady) {
			t.Errorf("run %s has the child %v, and is not Ready", run.Name, run.Status.Child)
		}
	}
}

// tell runs stories side by side over one manager, each in a namespace of its own.
func tell(t *testing.T, w *world, stories map[string]func(*story)) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(stories)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &story{newWorld(t), t}
			s.Store = w.Store
			stories[name](s)
			s.invariants(t)
		})
	}
}

func TestRuns(t *testing.T) {
	tell(t, startManager(t, everything(ModePermissive)), map[string]func(*story){
		"a Job runs once when it is created":              storyOnCreate,
		"a Job on demand runs when it is asked to":        storyOnDemand,
		"a Job without an owner says so":                  storyOwnerMissing,
		"a run waits for its grant":                       storyGrantArrives,
		"read is not enough":                              storyOnlyRead,
		"a segment is not a prefix":                       storySegment,
		"a Grant without its ACL gives nothing":           storyACLDeleted,
		"a window opens":                                  storyWindowOpens,
		"a window closes":                                 storyWindowCloses,
		"a member leaves the group":                       storyMemberLeaves,
		"a service account by its namespace's group":      storyServiceAccount,
		"a suspended Job holds its runs back":             storySuspend,
		"the starting deadline passes":                    storyDeadline,
		"revoked: Finish":                                 storyRevokeFinish,
		"revoked: Suspend, and resumed":                   storyRevokeSuspend,
		"revoked: Delete":                                 storyRevokeDelete,
		"a run fails, and the container tells why":        storyFails,
		"a child that is deleted has failed":              storyChildDeleted,
		"a child that is deleted at once has, too":        storyChildDeletedAtOnce,
		"a run is stopped by deleting it":                 storyRunDeleted,
		"a person may run a Job at any time":              storyByHand,
		"a run is stopped, and kept":                      storyStop,
		"a run is stopped before it is launched":          storyStopWaiting,
		"a run says how its pods stand":                   storyTasks,
		"the history has limits":                          storyHistory,
		"a run may come before its Job":                   storyRunBeforeJob,
		"a Job that is made anew has runs of its own":     storyJobMadeAnew,
		"a definition that can't be honoured":             storyInvalid,
		"a template that the API server refuses":          storyTemplateRefused,
		"the child's name is taken by somebody else":      storyForeignChild,
		"a quota forbids the child, until there is room":  storyQuota,
		"many runs of one Grant are all launched, once":   storyMany,
		"a name of the greatest length can be a Job's id": storyLongName,
	})
}

// TestRuns_aStaleCacheLaunchesNothing is the core guarantee: once the deletion of what decides has
// returned, nothing is launched on the strength of a cache that does not know it yet.
func TestRuns_aStaleCacheLaunchesNothing(t *testing.T) {
	var held *heldPolicy
	s := &story{startManager(t, func(mgr ctrl.Manager, _ *policystore.Store) error {
		held = holdPolicy(t, clock.RealClock{})
		return everything(ModePermissive)(mgr, held.Store)
	}), t}
	s.Store = held.Store
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	acl := makeACL(grant.Spec.ACL, "dcos:service:metronome:"+s.Namespace+":jobs:dev")
	held.tell(t, acl, grant)
	job := s.job(t, "dev.job", onRevoke(v1alpha1.RevokeSuspend))
	first := s.creationRun(t, job)
	s.launched(t, first)

	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	_, known := held.Snapshot().GrantNamed(grant.Name)
	s.Expect(known).To(BeTrue(), "the cache is behind")
	second := s.runNow(t, job.Name, "second")
	s.expectState(t, second, v1alpha1.StatePending, "Grant "+grant.Name+" no longer allows it (read just now, ahead of the cache)")
	s.Expect(s.says(t, second, v1alpha1.ConditionAuthorized)()).To(HavePrefix("False NotGranted: "))
	s.Consistently(func() int { return len(s.children(t)) }).WithTimeout(2*staleCacheRetry).Should(Equal(1), "it is looked at again, and not launched")

	// The cache catches up: now the running work is suspended, too.
	held.forget(t, grant)
	s.Eventually(func() bool { return isSuspended(s.child(t, first)) }).Should(BeTrue(), "the running work is suspended")
	s.expectState(t, second, v1alpha1.StatePending, "user alice may not")

	// A Grant that the cache alone knows resumes nothing.
	held.tell(t, grant)
	s.expectState(t, first, v1alpha1.StateSuspended, "no longer allows it (read just now, ahead of the cache)")
	s.Consistently(func() bool { return isSuspended(s.child(t, first)) }).Should(BeTrue(), "it is not resumed")

	// It is back indeed.
	s.create(t, makeGrant(grant.Name, acl.Name, "alice", v1alpha1.ActionRun))
	s.Eventually(func() bool { return isSuspended(s.child(t, first)) }).Should(BeFalse(), "the running work is resumed")
	s.launched(t, second)
	s.invariants(t)
}

func TestRuns_withoutThePolicyNothingIsLaunched(t *testing.T) {
	s := &story{startManager(t, func(mgr ctrl.Manager, _ *policystore.Store) error {
		never := policystore.New(mgr.GetCache(), clock.RealClock{}) // is not started
		return everything(ModePermissive)(mgr, never)
	}), t}
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.Eventually(s.says(t, run, v1alpha1.ConditionAuthorized)).Should(HavePrefix("Unknown PolicyNotSynced: "), "the run says that it is not known")
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("Unknown PolicyNotSynced: "), "so does the Job")
	s.expectState(t, run, v1alpha1.StatePending, "nothing is launched until it has")
	s.nothingIsLaunched(t)
	s.invariants(t)
}

func TestRuns_strict(t *testing.T) {
	s := &story{startManager(t, everything(ModeStrict)), t}
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.waits(t, run, `may not "create" on dcos:mesos:master:task:app_id:/`+s.Namespace+"/dev/job")
	tasks := makeACL(s.Name("tasks"), "dcos:mesos:master:task:app_id:/"+s.Namespace+"/dev")
	s.create(t, tasks)
	s.create(t, makeGrant(s.Name("tasks"), tasks.Name, "alice", v1alpha1.ActionCreate))
	s.launched(t, run)
	s.invariants(t)
}

func TestRuns_disabled(t *testing.T) {
	s := &story{startManager(t, everything(ModeDisabled)), t}
	run := s.creationRun(t, s.job(t, "dev.job", noOwner))
	child := s.launched(t, run)
	s.Expect(child.Annotations).NotTo(HaveKey(v1alpha1.AnnotationGrant))
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("True GatingDisabled: "))
}

// TestRuns_acrossRestarts stops the operator between two states of a run.
func TestRuns_acrossRestarts(t *testing.T) {
	s := &story{newWorld(t), t}
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	var running, waiting *v1alpha1.JobRun
	var job *v1alpha1.Job
	t.Run("the first operator launches", func(t *testing.T) {
		startManager(t, everything(ModePermissive))
		job = s.job(t, "dev.job", onRevoke(v1alpha1.RevokeSuspend))
		running = s.creationRun(t, job)
		s.launched(t, running)
	})
	// Nobody is there: the work begins, another run is asked for, permission goes.
	s.play(t, running, begins)
	waiting = s.runNow(t, job.Name, "waiting")
	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	t.Run("the second finds permission gone", func(t *testing.T) {
		startManager(t, everything(ModePermissive))
		s.expectState(t, running, v1alpha1.StateSuspended, "user alice may not")
		s.expectState(t, waiting, v1alpha1.StatePending, "user alice may not")
		s.Expect(s.children(t)).To(HaveLen(1))
	})
	s.create(t, makeGrant(s.Name("back"), grant.Spec.ACL, "alice", v1alpha1.ActionRun))
	t.Run("the third finds it back", func(t *testing.T) {
		startManager(t, everything(ModePermissive))
		s.launched(t, waiting)
		s.Eventually(func() bool { return isSuspended(s.child(t, running)) }).Should(BeFalse(), "the work goes on")
		s.Consistently(func() int { return len(s.children(t)) }).Should(Equal(2), "each run has one child")
	})
	s.invariants(t)
}
