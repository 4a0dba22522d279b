package admission

import (
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/grantry/grantry/api/v1alpha1"
	rules "github.com/grantry/grantry/internal/admission"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

// Warnings say what a change of policy does, to whoever makes it: with kubectl apply afterwards, with
// --dry-run=server before. They hold numbers, never names, and count no Job but those that the requester may
// read: by a Grant, or by RBAC in the namespace.

// maxGrantsOfACL is how many Grants an ACL may have for the effect of its deletion to be worked out.
const maxGrantsOfACL = 5_000

// warnOfGrant is for a Grant that is let in.
func (s Settings) warnOfGrant(r *rules.Request, before, after *v1alpha1.Grant) []string {
	change := effective.Change{}
	var resources []permission.Resource
	add := func(g *v1alpha1.Grant) {
		if g != nil {
			resources = append(resources, r.Snapshot.ACLStats(g.Spec.ACL).Resource)
		}
	}
	add(before)
	add(after)
	if after == nil {
		if before != nil {
			change = effective.DeleteGrant(before.Name)
		}
		return s.warnOfChange(r, resources, change)
	}
	served, _ := policystore.GrantOf(after)
	warnings := aboutGrant(r, served)
	return append(warnings, s.warnOfChange(r, resources, effective.SetGrant(served))...)
}

// aboutGrant is what is odd about a Grant.
func aboutGrant(r *rules.Request, g effective.Grant) (warnings []string) {
	resource := r.Snapshot.ACLStats(g.ACL).Resource
	switch ignored := resource.Ignored(g.Actions); {
	case resource.IsZero():
		return []string{fmt.Sprintf("there is no ACL %q yet: this Grant counts once there is", g.ACL)}
	case ignored != 0:
		warnings = append(warnings, fmt.Sprintf("spec.actions: %s gives nothing on what ACL %q protects, which knows full alone",
			strings.Join(ignored.Names(), ", "), g.ACL))
	}
	if delegation.GivesNothingNew(r.Snapshot, g, r.At) {
		warnings = append(warnings, "other Grants already give all of this to each of these subjects, for as long")
	}
	return warnings
}

// warnOfGroup is for a Group that is let in.
func (s Settings) warnOfGroup(r *rules.Request, before, after *v1alpha1.Group) []string {
	var change effective.Change
	name := ""
	switch {
	case after != nil:
		served, _ := policystore.GroupOf(after)
		name, change = after.Name, effective.SetGroup(served)
	case before != nil:
		name, change = before.Name, effective.DeleteGroup(before.Name)
	}
	var resources []permission.Resource
	for _, h := range r.Snapshot.PermissionsOf(effective.GroupSubject(name), nil, r.At) {
		resources = append(resources, h.Resource)
	}
	return s.warnOfChange(r, resources, change)
}

// warnOfACL is for an ACL that is let in.
func (s Settings) warnOfACL(r *rules.Request, before, after *v1alpha1.ACL) []string {
	object := after
	if object == nil {
		object = before
	}
	if object == nil || (before != nil && after != nil) {
		return nil // its resource stays
	}
	acl, err := policystore.ACLOf(object)
	if err != nil {
		return nil
	}
	if n := r.Snapshot.ACLStats(acl.Name).Grants; n > maxGrantsOfACL {
		return []string{fmt.Sprintf("%d Grants name this ACL", n)}
	}
	if after == nil {
		return s.warnOfChange(r, []permission.Resource{acl.Resource}, effective.DeleteACL(acl.Name))
	}
	warnings := s.warnOfChange(r, []permission.Resource{acl.Resource}, effective.SetACL(acl))
	if acl.Resource.Family() == permission.FamilyJobs && len(s.jobsUnder(r, []permission.Resource{acl.Resource})) == 0 {
		warnings = append(warnings, "this ACL covers no Job yet that you may read")
	}
	return warnings
}

func (s Settings) warnOfChange(r *rules.Request, resources []permission.Resource, change effective.Change) []string {
	jobs := s.jobsUnder(r, resources)
	if len(jobs) == 0 {
		return nil
	}
	return delegation.ImpactOf(r.Snapshot, r.Snapshot.Apply(change), r.At, jobs).Sentences()
}

// jobsUnder are the Jobs that the resources cover and the requester may read. A namespace whose Jobs can't be
// listed has none: a warning is no decision.
func (s Settings) jobsUnder(r *rules.Request, resources []permission.Resource) (jobs []delegation.Job) {
	spaces := sets.New[string]() // to look in; "" is all
	for _, resource := range resources {
		switch resource.Family() {
		case permission.FamilyJobs:
			spaces.Insert(resource.Scope())
		case permission.FamilySuperuser:
			spaces.Insert("")
		default: // other families are not about Jobs
		}
	}
	for space := range spaces {
		if space != "" && spaces.Has("") {
			continue
		}
		list, err := r.Jobs(space)
		if err != nil {
			continue
		}
		readsAll := sync.OnceValue(func() bool { // asked only where it matters: it is a request to the API server
			yes, err := r.Ask(rules.Question{Verb: "list", Group: v1alpha1.GroupVersion.Group, Resource: "jobs", Namespace: space})
			return err == nil && yes
		})
		for i := range list {
			resource := permission.JobResource(list[i].Namespace, list[i].Name)
			if isCovered(resources, resource) && (readsAll() || r.Holds(permission.Read, resource)) {
				jobs = append(jobs, impactOn(&list[i]))
			}
		}
	}
	return jobs
}

func isCovered(resources []permission.Resource, job permission.Resource) bool {
	for _, resource := range resources {
		if resource.Covers(job) {
			return true
		}
	}
	return false
}

func impactOn(j *v1alpha1.Job) delegation.Job {
	job := delegation.Job{Resource: permission.JobResource(j.Namespace, j.Name), Running: j.Status.ActiveRuns > 0}
	if j.Spec.Owner != nil {
		job.Owner = policystore.SubjectOf(*j.Spec.Owner)
	}
	if j.Spec.OwnerGroups != nil {
		job.OwnerGroups = j.Spec.OwnerGroups.Names
	}
	switch j.Spec.OnRevoke {
	case v1alpha1.RevokeSuspend:
		job.OnRevoke = delegation.Suspend
	case v1alpha1.RevokeDelete:
		job.OnRevoke = delegation.Delete
	default:
	}
	return job
}
