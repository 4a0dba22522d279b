package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

// SecurityMode says how much of what DC/OS guarded is asked.
type SecurityMode = permission.SecurityMode

// The security modes, as launches see them.
const (
	// ModeDisabled launches without asking.
	ModeDisabled = permission.ModeDisabled
	// ModePermissive asks for the Job's own resource.
	ModePermissive = permission.ModePermissive
	// ModeStrict also asks for the right to start tasks of that id: dcos:mesos:master:task:app_id:<path>.
	ModeStrict = permission.ModeStrict
)

// ParseSecurityMode reads a security mode, as in a flag.
func ParseSecurityMode(s string) (SecurityMode, error) {
	switch m := SecurityMode(s); m {
	case ModeDisabled, ModePermissive, ModeStrict:
		return m, nil
	default:
		return "", fmt.Errorf("security mode %q is not one of disabled, permissive, strict", s)
	}
}

// launchActions are the actions of which the owner needs one. Whoever may create a Job of that name, or
// run it, could bring the run about by hand.
const launchActions = permission.Run | permission.Create

// verdict says whether a Job may be launched. The zero verdict forbids.
type verdict struct {
	Allowed bool
	// Reason is a reason of the Authorized condition, Message its sentence.
	Reason, Message string
	// Grant and ACL are those that allow the launch; both are empty without gating.
	Grant, ACL string

	deciders []decider
}

// decider is a question and the answer that the snapshot gave.
type decider struct {
	question effective.Query
	answer   effective.Verdict
}

// LaunchGate decides whether a Job may be launched: by the snapshot, which costs nothing and may be
// old, and then by the deciding objects themselves, read from the API server.
type LaunchGate struct {
	// Policy holds the current snapshot.
	Policy *policystore.Store
	// Clock tells the time at which windows are judged.
	Clock clock.PassiveClock
	// Mode is the security mode.
	Mode SecurityMode
	// DefaultInstance is the namespace whose app_ids have no namespace in them.
	DefaultInstance string
	// GroupsMaxAge is how long the groups that were stored with a Job's owner count. Zero: not at all.
	GroupsMaxAge time.Duration

	fresh *freshReader
}

// verdict decides by the snapshot. Not synced is not allowed.
func (g *LaunchGate) verdict(job *v1alpha1.Job) verdict {
	if g.Mode == ModeDisabled {
		return verdict{Allowed: true, Reason: v1alpha1.ReasonGatingDisabled, Message: "Launches are not gated in security mode disabled"}
	}
	if job.Spec.Owner == nil {
		return verdict{
			Reason:  v1alpha1.ReasonOwnerMissing,
			Message: "The Job has no owner whose grants could allow a launch: set spec.owner",
		}
	}
	snapshot := g.Policy.Snapshot()
	if snapshot == nil {
		return verdict{
			Reason:  v1alpha1.ReasonPolicyNotSynced,
			Message: g.Policy.Unavailable().Error() + "; nothing is launched until it has",
		}
	}
	return decide(snapshot, g.questions(job))
}

// questions are what must all be answered yes.
func (g *LaunchGate) questions(job *v1alpha1.Job) []effective.Query {
	now := g.Clock.Now()
	base := effective.Query{
		User:     policystore.SubjectOf(*job.Spec.Owner),
		Groups:   g.groupsOf(&job.Spec, now),
		Resource: permission.JobResource(job.Namespace, job.Name),
		AnyOf:    launchActions,
		At:       now,
	}
	if g.Mode != ModeStrict {
		return []effective.Query{base}
	}
	instance := job.Namespace
	if instance == g.DefaultInstance {
		instance = "" // its app_ids have no namespace in them
	}
	task := base
	task.Resource = permission.AppIDResource(permission.MasterTask, instance, job.Name)
	task.AnyOf = permission.Create
	return []effective.Query{base, task}
}

// groupsOf are the groups of a Job's owner: those that follow from what it is, and for a user those that the
// API server reported when the user last wrote the Job, unless that is too long ago. Groups add to them.
func (g *LaunchGate) groupsOf(spec *v1alpha1.JobSpec, now time.Time) []string {
	switch owner := spec.Owner; owner.Kind {
	case v1alpha1.ServiceAccountSubject:
		return append(serviceaccount.MakeGroupNames(owner.Namespace), user.AllAuthenticated)
	case v1alpha1.UserSubject:
		if r := spec.OwnerGroups; r != nil && now.Sub(r.ReportedAt.Time) < g.GroupsMaxAge {
			return append([]string{user.AllAuthenticated}, r.Names...)
		}
		return []string{user.AllAuthenticated}
	case v1alpha1.GroupSubject:
	}
	return nil
}

// decide puts each question to a snapshot. The first no is the verdict; the first question's Grant is
// the one that a yes names.
func decide(snapshot *effective.Snapshot, questions []effective.Query) verdict {
	v := verdict{Allowed: true, Reason: v1alpha1.ReasonGranted}
	var grants []string
	for _, q := range questions {
		answer := snapshot.Decide(q)
		if !answer.Allowed {
			return verdict{Reason: v1alpha1.ReasonNotGranted, Message: snapshot.Explain(q).String()}
		}
		v.deciders = append(v.deciders, decider{question: q, answer: answer})
		grants = append(grants, fmt.Sprintf("Grant %s on ACL %s", answer.Grant, answer.ACL))
	}
	v.Grant, v.ACL = v.deciders[0].answer.Grant, v.deciders[0].answer.ACL
	v.Message = "Allowed by " + strings.Join(grants, " and ")
	return v
}

// confirm asks the questions of a verdict that allows again, of the deciding Grants, ACLs and Groups as
// the API server holds them now. After a deletion has returned, an old snapshot launches nothing.
// An error says that the API server could not be asked: nothing may be launched then either.
func (g *LaunchGate) confirm(ctx context.Context, v verdict) (verdict, error) {
	if !v.Allowed || v.Reason == v1alpha1.ReasonGatingDisabled {
		return v, nil
	}
	live, err := g.liveInput(ctx, v)
	if err != nil {
		metrics.LaunchChecks.WithLabelValues("Error").Inc()
		return verdict{}, err
	}
	snapshot, _ := effective.Build(live)
	questions := make([]effective.Query, len(v.deciders))
	now := g.Clock.Now()
	for i, d := range v.deciders {
		questions[i] = d.question
		questions[i].At = now
	}
	confirmed := decide(snapshot, questions)
	metrics.LaunchChecks.WithLabelValues(confirmed.Reason).Inc()
	if !confirmed.Allowed {
		confirmed.Message = fmt.Sprintf("Grant %s no longer allows it (read just now, ahead of the cache): %s", v.Grant, confirmed.Message)
	}
	return confirmed, nil
}

// liveInput reads what decided, each object once: one Grant may have decided both questions. What does
// not exist any more, does not count, or can't be used, is left out: the questions are then answered no.
func (g *LaunchGate) liveInput(ctx context.Context, v verdict) (effective.Input, error) {
	var in effective.Input
	grants, acls, groups := sets.New[string](), sets.New[string](), sets.New[string]()
	for _, d := range v.deciders {
		grants.Insert(d.answer.Grant)
		acls.Insert(d.answer.ACL)
		if d.answer.Membership != "" {
			groups.Insert(d.answer.Membership)
		}
	}
	for _, name := range sets.List(grants) {
		grant, err := readLive(ctx, g, name, &v1alpha1.Grant{})
		if err != nil {
			return in, fmt.Errorf("read Grant %s: %w", name, err)
		}
		if grant != nil {
			usable, _ := policystore.GrantOf(grant)
			in.Grants = append(in.Grants, usable)
		}
	}
	for _, name := range sets.List(acls) {
		acl, err := readLive(ctx, g, name, &v1alpha1.ACL{})
		if err != nil {
			return in, fmt.Errorf("read ACL %s: %w", name, err)
		}
		if acl == nil {
			continue
		}
		if usable, err := policystore.ACLOf(acl); err == nil {
			in.ACLs = append(in.ACLs, usable)
		}
	}
	for _, name := range sets.List(groups) {
		group, err := readLive(ctx, g, name, &v1alpha1.Group{})
		if err != nil {
			return in, fmt.Errorf("read Group %s: %w", name, err)
		}
		if group != nil {
			usable, _ := policystore.GroupOf(group)
			in.Groups = append(in.Groups, usable)
		}
	}
	return in, nil
}

// readLive returns nil, and no error, for an object that is gone or going, or was not validated: it does not
// count.
func readLive[T interface {
	client.Object
	comparable
}](ctx context.Context, g *LaunchGate, name string, empty T) (T, error) {
	var none T
	object, err := freshGet(ctx, g.fresh, types.NamespacedName{Name: name}, empty)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil || !object.GetDeletionTimestamp().IsZero() || !g.Policy.Rule.Counts(object) {
		return none, err
	}
	return object, nil
}
