package controllers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
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
		var conditions []metav1.Condition
		switch o := obj.(type) {
		case *v1alpha1.Job:
			conditions = o.Status.Conditions
		case *v1alpha1.JobRun:
			conditions = o.Status.Conditions
		}
		c := meta.FindStatusCondition(conditions, kind)
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

func storyOnCreate(s *story) {
	t := s.t
	grant := s.grant(t, "dev.batch", v1alpha1.ActionRun)
	job := s.job(t, "dev.batch.job1", func(j *v1alpha1.Job) { j.Spec.Run.CPUs = new(0.01) })
	run := s.creationRun(t, job)
	s.Expect(run.Spec.Trigger).To(Equal(v1alpha1.TriggerCreation))
	s.Expect(metav1.IsControlledBy(run, job)).To(BeTrue(), "the run goes with its Job")

	child := s.launched(t, run)
	s.Expect(metav1.IsControlledBy(child, run)).To(BeTrue(), "the child goes with its run")
	s.Expect(child.Labels).To(HaveKeyWithValue(v1alpha1.LabelRun, string(run.UID)))
	s.Expect(child.Spec.Template.Labels).To(HaveKey("in.grantry.dev/dev.batch"))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationGrant, grant.Name))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationACL, grant.Spec.ACL))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationOwner, "User alice"))

	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(run.Status.Grant).To(Equal(grant.Name))
	s.Expect(run.Status.StartedAt).NotTo(BeNil())
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(Equal("True Granted: Allowed by Grant " + grant.Name + " on ACL " + grant.Spec.ACL))

	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
	s.Expect(run.Status.ExitCode).To(HaveValue(Equal(int32(0))))
	s.Eventually(func() string {
		s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(job), job)).To(Succeed())
		last := *job.Status.LastRun
		return fmt.Sprintf("%d active, last %s %s at %v, by %s", job.Status.ActiveRuns, last.Name, last.State, job.Status.LastSuccessAt, job.Status.Grant)
	}).Should(Equal(fmt.Sprintf("0 active, last %s Success at %v, by %s", run.Name, run.Status.FinishedAt, grant.Name)), "the Job sums up")
	s.Expect(s.says(t, job, v1alpha1.ConditionReady)()).To(HavePrefix("True Accepted: "))

	// Neither an edit nor the end of its run brings about another.
	s.change(t, job, func() { job.Spec.Description = "edited" })
	s.Expect(s.Delete(t.Context(), run)).To(Succeed())
	s.Eventually(func() int64 { s.says(t, job, "")(); return job.Status.ObservedGeneration }).Should(Equal(job.Generation), "the edit is seen")
	s.Consistently(func() int { return len(s.runs(t)) }).Should(BeZero(), "a Job is created once")
}

func storyOnDemand(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "the Job is accepted")
	s.Consistently(func() int { return len(s.runs(t)) }).Should(BeZero(), "it does not run by itself")

	run := s.runNow(t, job.Name, "now", func(r *v1alpha1.JobRun) { r.Labels = map[string]string{"mine": "kept"} })
	s.launched(t, run)
	s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	s.Expect(run.Spec.Trigger).To(Equal(v1alpha1.TriggerUser))
	s.Expect(metav1.IsControlledBy(run, job)).To(BeTrue(), "the run was adopted")
	s.Expect(run.Labels).To(And(
		HaveKey("in.grantry.dev/dev"), HaveKey("in.grantry.dev/dev.job"), HaveKeyWithValue(v1alpha1.LabelJob, string(job.UID)),
		HaveKeyWithValue("mine", "kept")))
}

func storyOwnerMissing(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionFull)
	job := s.job(t, "dev.job", noOwner)
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("False OwnerMissing: The Job has no owner"), "the Job says so")
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "set spec.owner")
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("False OwnerMissing: "))
	s.nothingIsLaunched(t)
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning OwnerMissing: ")), "an event tells it")

	s.change(t, job, func() { ownedBy(v1alpha1.UserSubject, "", "alice")(job) })
	s.launched(t, run)
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "the Job is accepted")
}

func storyGrantArrives(s *story) {
	t := s.t
	s.grant(t, "other", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.waits(t, run, "closest is Grant "+s.Name("alice-other"))
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "the Job says so, too")
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning NotGranted: ")), "an event tells it")

	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	s.launched(t, run)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "the Job says so")
	s.Expect(job.Status.Grant).To(Equal(grant.Name))
}

func storyOnlyRead(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRead, v1alpha1.ActionDelete)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.waits(t, run, `gives "read" and "delete"`)
	s.change(t, grant, func() { grant.Spec.Actions = append(grant.Spec.Actions, v1alpha1.ActionUpdate) })
	s.launched(t, run)
}

func storySegment(s *story) {
	t := s.t
	s.grant(t, "dev.batch", v1alpha1.ActionFull)
	run := s.creationRun(t, s.job(t, "dev.batchx"))
	s.waits(t, run, "on jobs dev.batch in")
	s.launched(t, s.creationRun(t, s.job(t, "dev.batch.x")))
}

func storyACLDeleted(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "it is allowed at first")

	s.Expect(s.Delete(t.Context(), makeACL(grant.Spec.ACL, ""))).To(Succeed())
	run := s.runNow(t, job.Name, "now")
	s.waits(t, run, "names ACL "+grant.Spec.ACL+", which does not exist or can't be read")
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "the Job says so, too")
	s.acl(t, "dev")
	s.launched(t, run)
}

func storyWindowOpens(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	s.change(t, grant, func() { grant.Spec.NotBefore = new(metav1.NewTime(time.Now().Add(time.Hour))) })
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.waits(t, run, "its window opens at")
	var opens metav1.Time
	s.change(t, grant, func() {
		opens = metav1.NewTime(time.Now().Add(2 * time.Second).Truncate(time.Second))
		grant.Spec.NotBefore = &opens
	})
	child := s.launched(t, run)
	s.Expect(child.CreationTimestamp.Time).To(BeTemporally(">=", opens.Time), "not before the window opens")
}

func storyWindowCloses(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", onRevoke(v1alpha1.RevokeSuspend))
	run := s.creationRun(t, job)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.change(t, grant, func() {
		grant.Spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(2 * time.Second).Truncate(time.Second)))
	})
	s.expectState(t, run, v1alpha1.StateSuspended, "but expired at")
	s.Eventually(func() bool { return isSuspended(s.child(t, run)) }).Should(BeTrue(), "the running work is suspended at the edge")

	late := s.runNow(t, job.Name, "late")
	s.expectState(t, late, v1alpha1.StatePending, "but expired at")
	s.Consistently(func() *batchv1.Job { return s.child(t, late) }).Should(BeNil(), "a run after the window is not launched")
}

func storyMemberLeaves(s *story) {
	t := s.t
	acl := s.acl(t, "dev")
	group := makeGroup(s.Name("devs"), "alice", "bob")
	s.create(t, group)
	grant := makeGrant(s.Name("devs"), acl.Name, "", v1alpha1.ActionRun)
	grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: group.Name}}
	s.create(t, grant)
	job := s.job(t, "dev.job")
	s.launched(t, s.creationRun(t, job))

	s.change(t, group, func() { group.Spec.Members = group.Spec.Members[1:] })
	run := s.runNow(t, job.Name, "next")
	s.expectState(t, run, v1alpha1.StatePending, "no grant of the user or of its groups comes near")
	s.Consistently(func() *batchv1.Job { return s.child(t, run) }).Should(BeNil(), "the next run is not launched")
}

func storyServiceAccount(s *story) {
	t := s.t
	acl := s.acl(t, "dev")
	grant := makeGrant(s.Name("ci"), acl.Name, "", v1alpha1.ActionCreate)
	grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "system:serviceaccounts:" + s.Namespace}}
	s.create(t, grant)
	job := s.job(t, "dev.job", ownedBy(v1alpha1.ServiceAccountSubject, s.Namespace, "deployer"))
	child := s.launched(t, s.creationRun(t, job))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationOwner, "ServiceAccount "+s.Namespace+"/deployer"))

	other := s.job(t, "dev.other", ownedBy(v1alpha1.ServiceAccountSubject, "elsewhere", "deployer"))
	run := s.creationRun(t, other)
	s.expectState(t, run, v1alpha1.StatePending, "system:serviceaccount:elsewhere:deployer")
	s.Consistently(func() *batchv1.Job { return s.child(t, run) }).Should(BeNil(), "another namespace's is not in the group")
}

func storySuspend(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", func(j *v1alpha1.Job) { j.Spec.Suspend = true })
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "spec.suspend")
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("True Granted: "))
	s.nothingIsLaunched(t)

	s.change(t, job, func() { job.Spec.Suspend = false })
	s.play(t, run, begins)
	s.change(t, job, func() { job.Spec.Suspend = true })
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(isSuspended(s.child(t, run))).To(BeFalse(), "what was launched goes on")
}

func storyDeadline(s *story) {
	t := s.t
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	run := s.runNow(t, job.Name, "now", withDeadline(1))
	s.expectState(t, run, v1alpha1.StateStartingDeadlineExceeded, "Not launched within 1 seconds: user alice may not")
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Rejected: "))
	s.Eventually(func() []string { return s.events(t, run) }).
		Should(ContainElement(HavePrefix("Warning StartingDeadlineExceeded: ")), "an event tells of a run that has no child")

	s.grant(t, "dev", v1alpha1.ActionRun)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "the Grant is in force")
	s.nothingIsLaunched(t)
	s.Expect(s.says(t, run, v1alpha1.ConditionSucceeded)()).To(HavePrefix("False StartingDeadlineExceeded: "))
}

// revoke launches a run, and takes the Grant away while it is at work.
func (s *story) revoke(t *testing.T, policy v1alpha1.RevokePolicy) (*v1alpha1.Job, *v1alpha1.JobRun) {
	t.Helper()
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", onRevoke(policy))
	run := s.creationRun(t, job)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	s.Eventually(s.says(t, run, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "the run says that permission went")
	return job, run
}

func storyRevokeFinish(s *story) {
	t := s.t
	job, run := s.revoke(t, v1alpha1.RevokeFinish)
	s.Consistently(func() bool { return isSuspended(s.child(t, run)) }).Should(BeFalse(), "it goes on")
	next := s.runNow(t, job.Name, "next")
	s.expectState(t, next, v1alpha1.StatePending, "user alice may not")
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
	s.Expect(s.child(t, next)).To(BeNil(), "the next run is not launched")
}

func storyRevokeSuspend(s *story) {
	t := s.t
	_, run := s.revoke(t, v1alpha1.RevokeSuspend)
	s.expectState(t, run, v1alpha1.StateSuspended, "onRevoke: Suspend")
	suspended := func() bool { return isSuspended(s.child(t, run)) }
	s.Eventually(suspended).Should(BeTrue(), "the child is suspended")
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Suspended: ")), "an event tells it")

	// Nobody but Grantry resumes it.
	child := s.child(t, run)
	s.change(t, child, func() { child.Spec.Suspend = new(false) })
	s.Eventually(suspended).Should(BeTrue(), "the child is suspended again")

	s.grantBack(t)
	s.Eventually(suspended).Should(BeFalse(), "the child is resumed")
	s.Expect(s.child(t, run).Annotations).NotTo(HaveKey(v1alpha1.AnnotationSuspendedByRevocation))
	s.expectState(t, run, v1alpha1.StateActive)
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
}

func storyRevokeDelete(s *story) {
	t := s.t
	_, run := s.revoke(t, v1alpha1.RevokeDelete)
	s.expectState(t, run, v1alpha1.StateRevoked, "onRevoke: Delete")
	s.Eventually(func() *batchv1.Job { return s.child(t, run) }).Should(BeNil(), "the child is deleted")
	s.grantBack(t)
	s.nothingIsLaunched(t)
	s.expectState(t, run, v1alpha1.StateRevoked)
}

// grantBack gives alice her Grant on dev again, and returns when it is in force.
func (s *story) grantBack(t *testing.T) {
	t.Helper()
	back := makeGrant(s.Name("back"), s.Name("dev"), "alice", v1alpha1.ActionRun)
	s.create(t, back)
	s.Eventually(func() bool { _, known := s.Store.Snapshot().GrantNamed(back.Name); return known }).Should(BeTrue(), "the Grant is in force")
}

func storyFails(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.play(t, run, begins)
	for i, exit := range []corev1.ContainerStateTerminated{
		{ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(time.Now().Add(time.Minute))},
		{ExitCode: 1, Reason: "Error", FinishedAt: metav1.Now()},
	} {
		s.podThat(t, run, fmt.Sprintf("pod%d", i), func(status *corev1.PodStatus) {
			status.Phase = corev1.PodFailed
			status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &exit}}}
		})
	}
	s.play(t, run, fails)
	s.expectState(t, run, v1alpha1.StateFailed,
		"BackoffLimitExceeded: Job has reached the specified backoff limit; the last container ended with exit code 137 (OOMKilled)")
	s.Expect(run.Status.ExitCode).To(HaveValue(Equal(int32(137))))
	s.Expect(run.Status.ExitReason).To(Equal("OOMKilled"))
	s.Expect(run.Status.FailedAttempts).To(Equal(int32(1)))
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Failed: ")), "an event tells it")
	s.Eventually(func() *metav1.Time { s.says(t, job, "")(); return job.Status.LastFailureAt }).ShouldNot(BeNil(), "the Job says when")
	s.Expect(s.says(t, job, v1alpha1.ConditionReady)()).To(HavePrefix("True Accepted: "), "Ready never says how a run went")

	// The pods go, and the run stays readable.
	s.Expect(s.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(s.Namespace), client.GracePeriodSeconds(0))).To(Succeed())
	s.Consistently(func() []string {
		s.says(t, run, "")()
		var tasks []string
		for _, task := range run.Status.Tasks {
			tasks = append(tasks, fmt.Sprintf("%s %s %d %s", task.Name, task.State, *task.ExitCode, task.Reason))
		}
		return tasks
	}).Should(Equal([]string{"pod0 Failed 137 OOMKilled", "pod1 Failed 1 Error"}), "its tasks are told")
}

// podThat makes a pod of a run as the Job controller does, and writes its status as its node does.
func (s *story) podThat(t *testing.T, run *v1alpha1.JobRun, name string, stands func(*corev1.PodStatus)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: name,
			Labels:          map[string]string{v1alpha1.LabelRun: string(run.UID)},
			Annotations:     map[string]string{v1alpha1.AnnotationRun: run.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.launched(t, run), batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}, NodeName: "node1"},
	}
	s.Expect(s.Create(t.Context(), pod)).To(Succeed())
	stands(&pod.Status)
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	return pod
}

func works(status *corev1.PodStatus) {
	status.Phase = corev1.PodRunning
	status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
}

// A person follows a run: what its pod waits for, that it works, and how it ended.
func storyTasks(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	pod := s.podThat(t, run, "pod", func(status *corev1.PodStatus) {
		status.Phase = corev1.PodPending
		status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"},
		}}}
	})
	forged := pod.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: s.Namespace, Name: "forged", Labels: pod.Labels, Annotations: pod.Annotations}
	s.Expect(s.Create(t.Context(), forged)).To(Succeed())
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateStarting, "Pod pod waits to start: ImagePullBackOff: no such image")
	s.Expect(run.Status.Tasks).To(HaveLen(1), "a pod that the child does not control is none of its tasks")
	s.Expect(run.Status.Tasks[0]).To(And(HaveField("State", v1alpha1.TaskWaiting), HaveField("Node", "node1"), HaveField("Reason", "ImagePullBackOff")))

	s.change(t, pod, func() {}) // its resource version
	works(&pod.Status)
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	s.expectState(t, run, v1alpha1.StateActive, "At work")
	s.Eventually(func() v1alpha1.TaskState { s.says(t, run, "")(); return run.Status.Tasks[0].State }).Should(Equal(v1alpha1.TaskRunning), "the task works")
	s.Expect(run.Status.Tasks[0].StartedAt).NotTo(BeNil())

	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: *run.Status.Tasks[0].StartedAt, FinishedAt: metav1.Now(),
	}}
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
	s.Expect(run.Status.Tasks[0]).To(And(HaveField("State", v1alpha1.TaskSucceeded), HaveField("ExitCode", HaveValue(BeZero())), HaveField("FinishedAt", Not(BeNil()))))

	s.change(t, run, func() { run.Spec.Stop = true })
	s.Eventually(func() int64 { s.expectState(t, run, v1alpha1.StateSuccess); return run.Status.ObservedGeneration }).
		Should(Equal(int64(2)), "to stop it changes nothing, and has been heard")
}

// A run is stopped, and stays in the history: while its pod ends, its Job has an active run, and then one that failed.
func storyStop(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	pod := s.podThat(t, run, "pod", works)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)

	bob := &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "bob"} // as admission writes it down
	s.change(t, run, func() { run.Spec.Stop, run.Spec.StoppedBy = true, bob })
	s.expectState(t, run, v1alpha1.StateActive, "Being stopped by User bob: its pods are ending")
	s.Eventually(func() []string { return s.child(t, run).Finalizers }).Should(ContainElement(metav1.FinalizerDeleteDependents), "the child goes when its pods have")
	s.Expect(isFinished(run)).To(BeFalse(), "it has not ended before its pods")
	s.Eventually(func() int32 { s.says(t, job, "")(); return job.Status.ActiveRuns }).Should(Equal(int32(1)), "the Job has an active run")

	// Play the node and the garbage collector.
	s.change(t, pod, func() {})
	pod.Status.Phase = corev1.PodFailed
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, Reason: "Error", FinishedAt: metav1.Now()}}
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	s.Expect(s.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
	child := s.child(t, run)
	s.change(t, child, func() { child.Finalizers = nil })

	s.expectState(t, run, v1alpha1.StateStopped, "Stopped by User bob")
	s.Expect(run.Status.Tasks).To(HaveExactElements(And(HaveField("State", v1alpha1.TaskFailed), HaveField("ExitCode", HaveValue(Equal(int32(143)))))), "its tasks say how they ended")
	s.Expect(run.Status.ExitCode).To(HaveValue(Equal(int32(143))))
	s.Eventually(func() string {
		s.says(t, job, "")()
		return fmt.Sprintf("%d active, %d succeeded, %d failed, last %s", job.Status.ActiveRuns, job.Status.SuccessCount, job.Status.FailureCount, job.Status.LastRun.State)
	}).Should(Equal("0 active, 0 succeeded, 1 failed, last Stopped"), "the Job counts it as Metronome does")
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement("Normal Stopped: Stopped by User bob"), "an event tells it")
	s.nothingIsLaunched(t)
}

// A person's run heeds no schedule, no concurrency policy and no dependency, as in Metronome.
func storyByHand(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	scheduled := s.job(t, "dev.scheduled", func(j *v1alpha1.Job) {
		j.Spec.Schedules = []v1alpha1.Schedule{{ID: "newyear", Cron: "0 0 1 1 *", ConcurrencyPolicy: v1alpha1.ConcurrencyForbid, Enabled: new(false)}}
	})
	s.job(t, "dev.parent", startPolicy(v1alpha1.StartOnDemand))
	dependent := s.job(t, "dev.dependent", dependsOn("dev.parent"))
	for _, job := range []*v1alpha1.Job{scheduled, dependent} {
		for i := range 2 {
			run := s.runNow(t, job.Name, fmt.Sprintf("%s-by-hand%d", job.Name, i))
			s.play(t, run, begins)
			s.expectState(t, run, v1alpha1.StateActive)
		}
	}
}

// A run that waits is stopped: it has ended, and a Grant does not launch it any more.
func storyStopWaiting(s *story) {
	t := s.t
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "user alice may not")
	s.change(t, run, func() { run.Spec.Stop = true })
	s.expectState(t, run, v1alpha1.StateStopped, "Stopped before it was launched")
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Stopped: "))
	s.grant(t, "dev", v1alpha1.ActionRun)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "the Grant is in force")
	s.nothingIsLaunched(t)
	s.Expect(s.says(t, run, v1alpha1.ConditionSucceeded)()).To(HavePrefix("False Stopped: "))
}

func storyChildDeleted(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(s.Delete(t.Context(), s.child(t, run), client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	s.expectState(t, run, v1alpha1.StateFailed, "was deleted before it ended; set spec.stop of the JobRun to stop a run")
	s.nothingIsLaunched(t)
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Failed: ")), "an event tells it")
}

// A child that goes before the run's status tells of it was launched all the same.
func storyChildDeletedAtOnce(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.Expect(s.Delete(t.Context(), s.launched(t, run), client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	s.expectState(t, run, v1alpha1.StateFailed, "was deleted before it ended")
	s.nothingIsLaunched(t)
}

func storyRunDeleted(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	child := s.launched(t, run)
	owner := metav1.GetControllerOf(child)
	s.Expect(owner.BlockOwnerDeletion).To(HaveValue(BeTrue()), "foreground deletion waits for the child")
	s.Expect(s.Delete(t.Context(), run)).To(Succeed())
	s.Expect(s.Delete(t.Context(), child, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed(), "play the garbage collector")
	s.Eventually(func() int32 { s.says(t, job, "")(); return job.Status.ActiveRuns }).Should(BeZero(), "the Job counts it no more")
	s.nothingIsLaunched(t)
	s.Expect(s.runs(t)).To(BeEmpty())
}

func storyHistory(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand), func(j *v1alpha1.Job) {
		j.Spec.SuccessfulRunsHistoryLimit, j.Spec.FailedRunsHistoryLimit = new(int32(1)), new(int32(0))
	})
	var kept *v1alpha1.JobRun
	for i, end := range []func(*batchv1.JobStatus){succeeds, fails, succeeds} {
		kept = s.runNow(t, job.Name, fmt.Sprintf("run%d", i))
		later := metav1.NewTime(time.Now().Add(time.Duration(i+1) * time.Minute)) // runs end in different seconds
		s.play(t, kept, begins, end, func(status *batchv1.JobStatus) {
			if status.CompletionTime != nil {
				status.CompletionTime = &later
			}
		})
	}
	s.Eventually(func() []string { return names(s.runs(t)) }).Should(Equal([]string{kept.Name}), "one success is kept, and no failure")
	s.Eventually(func() *metav1.Time { s.says(t, job, "")(); return job.Status.LastFailureAt }).ShouldNot(BeNil(), "the time of the failure outlives it")
}

func storyRunBeforeJob(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.runNow(t, "dev.job", "early")
	s.expectState(t, run, v1alpha1.StatePending, "Job "+s.Namespace+"/dev.job does not exist")
	s.Expect(run.OwnerReferences).To(BeEmpty())
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	s.launched(t, run)
	s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	s.Expect(metav1.IsControlledBy(run, job)).To(BeTrue(), "the run was adopted")
}

func storyJobMadeAnew(s *story) {
	t := s.t
	job := s.job(t, "dev.job")
	earlier := s.creationRun(t, job)
	s.expectState(t, earlier, v1alpha1.StatePending, "user alice may not")
	s.Expect(s.Delete(t.Context(), job)).To(Succeed())
	s.expectState(t, earlier, v1alpha1.StatePending, "does not exist")

	s.grant(t, "dev", v1alpha1.ActionRun)
	again := s.job(t, "dev.job")
	run := s.creationRun(t, again)
	s.Expect(run.Name).NotTo(Equal(earlier.Name))
	s.launched(t, run)
	s.expectState(t, earlier, v1alpha1.StatePending, "belongs to an earlier Job of that name")
	s.Consistently(func() *batchv1.Job { return s.child(t, earlier) }).Should(BeNil(), "a run of an earlier Job is not launched")
}

func storyInvalid(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", func(j *v1alpha1.Job) { j.Spec.Run.User = "somebody" })
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("False SpecInvalid: spec.run.user: "), "the Job says what can't be honoured")
	s.Expect(meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	s.Expect(s.runs(t)).To(BeEmpty(), "its creation brings about nothing yet")

	run := s.runNow(t, job.Name, "now")
	s.expectState(t, run, v1alpha1.StateRejected, "The Job can't be launched: spec.run.user: ")
	s.nothingIsLaunched(t)

	s.change(t, job, func() { job.Spec.Run.User = "nobody" })
	s.launched(t, s.creationRun(t, job))
	s.expectState(t, run, v1alpha1.StateRejected)
}

func asTemplate(pod corev1.PodSpec) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) {
		job.Spec.Run = nil
		job.Spec.Template = &batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: pod}}}
	}
}

func storyTemplateRefused(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	bad := corev1.PodSpec{Containers: []corev1.Container{{Name: "Not_A_Name", Image: "busybox"}}}
	run := s.creationRun(t, s.job(t, "dev.job", asTemplate(bad)))
	s.expectState(t, run, v1alpha1.StateRejected, "The API server refused the batch/v1 Job: ", "Not_A_Name")
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Rejected: "))
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Rejected: ")), "an event tells it")
	s.nothingIsLaunched(t)
}

// sleeping is a batch/v1 Job that has nothing to do with Grantry.
func sleeping() batchv1.JobSpec {
	return batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "busybox"}}, RestartPolicy: corev1.RestartPolicyNever,
	}}}
}

func storyForeignChild(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	held := func(j *v1alpha1.Job) { j.Spec.Suspend = true }
	for name, labels := range map[string]map[string]string{
		"dev.plain":    nil,
		"dev.labelled": {v1alpha1.LabelRun: "forged"}, // the operator's cache shows it
	} {
		job := s.job(t, name, held)
		run := s.creationRun(t, job)
		foreign := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: batchjob.ChildName(run), Labels: labels},
			Spec:       sleeping(),
		}
		s.Expect(s.Create(t.Context(), foreign)).To(Succeed())
		s.change(t, job, func() { job.Spec.Suspend = false })
		s.expectState(t, run, v1alpha1.StateRejected, "does not belong to the run")
		s.Expect(run.Status.Child).To(BeNil())
		s.Expect(s.child(t, run).UID).To(Equal(foreign.UID), "it is left alone")
	}
}

func storyQuota(s *story) {
	t := s.t
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}},
	}
	s.Expect(s.Create(t.Context(), quota)).To(Succeed())
	quota.Status.Hard = quota.Spec.Hard // play the quota controller
	quota.Status.Used = corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}
	s.Expect(s.Status().Update(t.Context(), quota)).To(Succeed())
	probe := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "probe"}, Spec: sleeping()}
	s.Eventually(func() error { return s.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) }).
		Should(MatchError(ContainSubstring("exceeded quota")), "the quota is in force")

	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "The API server forbids the batch/v1 Job: ", "exceeded quota")
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("True Granted: "), "it is not for want of a grant")

	s.Expect(s.Delete(t.Context(), quota)).To(Succeed())
	s.Eventually(func() *batchv1.Job {
		s.change(t, job, func() { job.Spec.Description += "." }) // any change makes it look again, before its time
		return s.child(t, run)
	}).Should(Not(BeNil()), "there is room")
}

func storyMany(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	const many = 20
	for i := range many {
		s.job(t, fmt.Sprintf("dev.job%d", i))
	}
	s.Eventually(func() int { return len(s.children(t)) }).Should(Equal(many), "all are launched")
	s.Consistently(func() int { return len(s.children(t)) }).Should(Equal(many), "and none twice")
}

func storyLongName(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	name := "dev"
	for len(name) < 240 {
		name += ".segment-of-it"
	}
	job := s.job(t, name)
	run := s.creationRun(t, job)
	child := s.launched(t, run)
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationJob, name))
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
