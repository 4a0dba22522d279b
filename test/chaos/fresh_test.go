//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/test/chaos/ledger"
)

// compare asks everything of everybody while no Grant changes, and evaluates the same anew, from what the API server
// holds. Who is answered differently is a violation.
func (s *site) compare(t *testing.T) (found []ledger.Violation) {
	t.Helper()
	snapshot := s.evaluate(t)
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		for team := range owners {
			for _, q := range s.questions(user, team) {
				may := snapshot.Decide(effective.Query{
					User: effective.UserSubject(user), Groups: []string{"system:authenticated"}, At: time.Now(),
					Resource: permission.JobResource(space, "team-"+team), AnyOf: actions[q.action],
				}).Allowed
				outcome := ledger.Failed
				s.eventually(t, waitFor, fmt.Sprintf("%s is answered whether to %s; by a fresh evaluation may: %t", user, q.what, may), func() bool {
					outcome = outcomeOf(q.ask(t.Context()))
					return outcome == ledger.Allowed || outcome == ledger.Refused && !may // a Grant that is late allows nobody
				})
				if outcome == ledger.Allowed && !may {
					found = append(found, ledger.Violation{Rule: ledger.WronglyAllow, What: fmt.Sprintf("%s is allowed to %s, and by a fresh evaluation may not", user, q.what)})
				}
			}
		}
	}
	return found
}

var actions = map[v1alpha1.Action]permission.Actions{v1alpha1.ActionRead: permission.Read, v1alpha1.ActionRun: permission.Run}

// evaluate makes a snapshot of the policy that the API server holds.
func (s *site) evaluate(t *testing.T) *effective.Snapshot {
	t.Helper()
	acls, grants, groups := &v1alpha1.ACLList{}, &v1alpha1.GrantList{}, &v1alpha1.GroupList{}
	s.insist(t, "list the policy", func(ctx context.Context) error {
		for _, list := range []func() error{
			func() error { return s.admin.List(ctx, acls) },
			func() error { return s.admin.List(ctx, grants) },
			func() error { return s.admin.List(ctx, groups) },
		} {
			if err := list(); err != nil {
				return err
			}
		}
		return nil
	})
	var in effective.Input
	for i := range acls.Items {
		if usable, err := policystore.ACLOf(&acls.Items[i]); err == nil {
			in.ACLs = append(in.ACLs, usable)
		}
	}
	for i := range grants.Items {
		usable, _ := policystore.GrantOf(&grants.Items[i])
		in.Grants = append(in.Grants, usable)
	}
	for i := range groups.Items {
		usable, _ := policystore.GroupOf(&groups.Items[i])
		in.Groups = append(in.Groups, usable)
	}
	snapshot, _ := effective.Build(in)
	return snapshot
}
