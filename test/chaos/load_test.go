//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/chaos/ledger"
)

const (
	// space is the namespace of the Jobs.
	space = "chaos"
	// runEach is how often dave creates a run.
	runEach = 400 * time.Millisecond
	// askEach is how long each of the others waits between two requests of a kind.
	askEach = 300 * time.Millisecond
	// jobsEach is how many Jobs each team has of which runs are created, and runsEach how many of one before the next one's
	// turn comes: the history of a Job keeps 1,000. The first one's turn comes again after 12,000 runs, which is more than an
	// hour; a round takes half of one.
	jobsEach, runsEach = 8, 500
)

// owners are of the Jobs, by team. alice may always launch and read hers, bob never, and carol now and then not. dave
// owns nothing, and may run everybody's.
var owners = map[string]string{"a": "alice", "b": "bob", "c": "carol"}

// schedules are the Jobs, all of them alice's, that run every minute.
var schedules = []string{"team-a.minutely1", "team-a.minutely2"}

// populate creates the policy and the Jobs. Only the API server's own admins are not asked about.
func (s *site) populate(t *testing.T) {
	t.Helper()
	objects := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space}}}
	for team, owner := range owners {
		objects = append(
			objects,
			acl("team-"+team, "team-"+team),
			&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "tasks-" + team}, Spec: v1alpha1.ACLSpec{Resource: "dcos:mesos:master:task:app_id:/" + space + "/team-" + team}},
			grant("tasks-"+team, "tasks-"+team, owner, v1alpha1.ActionCreate),
			grant("dave-"+team, "team-"+team, "dave", v1alpha1.ActionRun),
		)
		for i := range jobsEach {
			objects = append(objects, job(onDemand(team, i), owner))
		}
		if owner != "bob" {
			objects = append(objects, owned(team))
		}
	}
	for _, name := range schedules {
		j := job(name, "alice")
		j.Spec.Schedules = []v1alpha1.Schedule{{ID: "s", Cron: "* * * * *"}}
		objects = append(objects, j)
	}
	for _, object := range objects {
		s.create(t, object)
	}
	s.record.absent("bob", ledger.Absence{})
}

// create has the cluster's admin create an object.
func (s *site) create(t *testing.T, object client.Object) {
	t.Helper()
	s.insist(t, "create "+object.GetName(), func(ctx context.Context) error {
		return orThere(s.admin.Create(ctx, object.DeepCopyObject().(client.Object)))
	})
}

// owned is the Grant of a team's owner on its Jobs.
func owned(team string) *v1alpha1.Grant {
	return grant("own-"+team, "team-"+team, owners[team], v1alpha1.ActionRead, v1alpha1.ActionRun)
}

// acl protects a part of the Jobs.
func acl(name, path string) *v1alpha1.ACL {
	return &v1alpha1.ACL{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: space, Path: path}},
	}
}

func grant(name, acl, user string, actions ...v1alpha1.Action) *v1alpha1.Grant {
	return &v1alpha1.Grant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.GrantSpec{
			ACL: acl, Actions: actions, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
		},
	}
}

// onDemand is the name of one of a team's Jobs.
func onDemand(team string, i int) string { return fmt.Sprintf("team-%s.ondemand%d", team, i) }

func job(name, owner string) *v1alpha1.Job {
	keep := int32(1000) // all: a run that is gone is lost
	return &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name},
		Spec: v1alpha1.JobSpec{
			Owner: &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: owner}, StartPolicy: v1alpha1.StartOnDemand,
			Run:                        &v1alpha1.RunSpec{Cmd: "true"},
			SuccessfulRunsHistoryLimit: &keep, FailedRunsHistoryLimit: &keep,
		},
	}
}

func jobRun(name, job string) *v1alpha1.JobRun {
	return &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name}, Spec: v1alpha1.JobRunSpec{Job: job}}
}

// orThere takes what is there already for created: the answer to a first attempt may have been lost.
func orThere(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// work lets dave create runs, and the others ask, until it is told to stop.
func (s *site) work(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { s.createRuns(ctx) })
	for team, user := range owners {
		for _, q := range s.questions(user, team) { // each by itself: one that hangs keeps no other from being asked
			group.Go(func() { s.ask(ctx, user, q) })
		}
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// createRuns creates a run of each team's Job in turn, each under a name of its own, without waiting for the answer to
// the one before.
func (s *site) createRuns(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	teams := []string{"a", "b", "c"}
	for i := 0; ctx.Err() == nil; i++ {
		team := teams[i%len(teams)]
		name := fmt.Sprintf("%s-%06d", team, i)
		group.Go(func() {
			s.request(ctx, ledger.Request{User: "dave", What: "create a run of team-" + team, Creates: name}, func() error {
				return s.users["dave"].Create(context.WithoutCancel(ctx), jobRun(name, onDemand(team, i/len(teams)/runsEach%jobsEach)))
			})
		})
		time.Sleep(runEach)
	}
}

// ask asks a question again and again, as a user.
func (s *site) ask(ctx context.Context, user string, q question) {
	for ctx.Err() == nil {
		s.request(ctx, ledger.Request{User: user, What: q.what}, func() error { return q.ask(context.WithoutCancel(ctx)) })
		time.Sleep(askEach)
	}
}

// question is something that a user may ask of a team's Job.
type question struct {
	what   string
	action v1alpha1.Action // that it needs
	ask    func(context.Context) error
}

func (s *site) questions(user, team string) []question {
	c, name := s.users[user], onDemand(team, 0)
	return []question{
		{"get the Job of team-" + team, v1alpha1.ActionRead, func(ctx context.Context) error {
			return c.Get(ctx, client.ObjectKey{Namespace: space, Name: name}, &v1alpha1.Job{})
		}},
		{"list the Jobs of team-" + team, v1alpha1.ActionRead, func(ctx context.Context) error {
			return c.List(ctx, &v1alpha1.JobList{}, client.InNamespace(space), client.HasLabels{v1alpha1.AncestorLabelPrefix + "team-" + team})
		}},
		{"run the Job of team-" + team, v1alpha1.ActionRun, func(ctx context.Context) error {
			return c.Create(ctx, jobRun("dry", name), client.DryRunAll)
		}},
	}
}

// request sends something and writes down how it ended. One that was cut short by the end is not written down.
func (s *site) request(ctx context.Context, q ledger.Request, send func() error) {
	q.Began = time.Now()
	err := send()
	q.Ended, q.Outcome = time.Now(), outcomeOf(err)
	if ctx.Err() == nil || err == nil {
		s.record.asked(q)
	}
}

// outcomeOf reads an answer: what is not found or there already was allowed.
func outcomeOf(err error) ledger.Outcome {
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err):
		return ledger.Allowed
	case apierrors.IsForbidden(err):
		return ledger.Refused
	}
	return ledger.Failed
}
