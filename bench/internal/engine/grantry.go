package engine

import (
	"context"
	"errors"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/testing/world"
)

var grantryKind = Kind{
	Name: Grantry, Ours: true,
	Modelled: "ACLs and Grants as they are, windows included.",
	New: func(w *world.World) (*Engine, error) {
		snapshot, err := Snapshot(w)
		if err != nil {
			return nil, err
		}
		return &Engine{Name: Grantry, Close: func() {}, Decide: func(i int) (bool, error) {
			q := &w.Questions[i]
			action, err := permission.ParseAction(q.Action)
			return snapshot.Decide(effective.Query{
				User: effective.UserSubject(q.User), Groups: q.Groups, Resource: permission.JobResource(q.Job.Namespace, q.Job.Path),
				AnyOf: action, At: world.Noon,
			}).Allowed, err
		}}, nil
	},
}

var authorizerKind = Kind{
	Name: "Grantry, with the reason", Ours: true,
	Modelled: "The same through `internal/authorizer`, which turns an API server's request into questions and the answer " +
		"into a sentence for a person.",
	New: func(w *world.World) (*Engine, error) {
		snapshot, err := Snapshot(w)
		if err != nil {
			return nil, err
		}
		a := Authorizer(snapshot)
		verbs := map[string]string{"create": "create", "read": "get", "update": "update", "delete": "delete", "full": "*"}
		return &Engine{Name: "Grantry, with the reason", Close: func() {}, Decide: func(i int) (bool, error) {
			q := &w.Questions[i]
			request := authorizer.Request{
				User: q.User, Groups: q.Groups, Verb: verbs[q.Action], Group: "grantry.dev", Resource: "jobs", Namespace: q.Job.Namespace, Name: q.Job.Path,
			}
			if q.Action == "run" { // of a run of the Job, whose name says which
				request.Verb, request.Resource = "create", "jobruns"
			}
			d := a.Authorize(context.Background(), &request)
			return d.Verdict == authorizer.Allow, d.Err
		}}, nil
	},
}

// Snapshot is a world's grants as Grantry holds them.
func Snapshot(w *world.World) (*effective.Snapshot, error) {
	var in effective.Input
	for _, a := range w.ACLs {
		resource, err := permission.ParseResource(a.Resource())
		if err != nil {
			return nil, err
		}
		in.ACLs = append(in.ACLs, effective.ACL{Name: a.Name, Resource: resource})
	}
	for _, g := range w.Grants {
		action, err := permission.ParseAction(g.Action)
		if err != nil {
			return nil, err
		}
		who := effective.UserSubject(g.Subject.Name)
		if g.Subject.IsGroup {
			who = effective.GroupSubject(g.Subject.Name)
		}
		in.Grants = append(in.Grants, effective.Grant{
			Name: g.Name, ACL: w.ACLs[g.ACL].Name, Subjects: []effective.Subject{who}, Actions: action, ExpiresAt: g.ExpiresAt,
		})
	}
	snapshot, problems := effective.Build(in)
	if len(problems) > 0 {
		return nil, errors.New("the world has problems")
	}
	return snapshot, nil
}

// Authorizer decides by a snapshot at world.Noon, in permissive mode. A run is of the Job of its name.
func Authorizer(snapshot *effective.Snapshot) *authorizer.Authorizer {
	return &authorizer.Authorizer{
		Policy: fixed{snapshot}, Lookup: sameName{}, Clock: clocktesting.NewFakePassiveClock(world.Noon),
		Mode: permission.ModePermissive, DefaultInstance: "metronome",
	}
}

type fixed struct{ snapshot *effective.Snapshot }

func (f fixed) Snapshot() *effective.Snapshot { return f.snapshot }

func (fixed) Unavailable() error { return nil } // there is always one

type sameName struct{}

func (sameName) JobOfRun(_ context.Context, _, name string) (string, error) { return name, nil }
func (sameName) JobOfPod(context.Context, string, string) (string, error) {
	return "", authorizer.ErrNotFound
}
func (sameName) HoldsJobs(context.Context, string) (bool, error) { return true, nil }
