package engine

import (
	"fmt"
	"iter"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/ast"

	"github.com/grantry/grantry/internal/testing/world"
)

const cedarModel = "A policy for each grant, `permit (principal in …, action in […], resource in …)`, paths as entities whose " +
	"parent is the path above, users as entities in their groups; grants whose window is closed are left out. "

var cedarKind = Kind{
	Name:     "Cedar",
	Modelled: cedarModel + "All policies in one set, as the library does it by itself.",
	New: func(w *world.World) (*Engine, error) {
		all := cedar.NewPolicySet()
		for id, p := range cedarPolicies(w) {
			all.Add(cedar.PolicyID(id.Name), p)
		}
		return newCedar("Cedar", w, func(world.Question) cedar.PolicyIterator { return all }), nil
	},
}

var cedarSlicedKind = Kind{
	Name: "Cedar, sliced",
	Modelled: cedarModel + "Policies are kept by subject, and only those of the user and of its groups are evaluated: what is " +
		"recommended for many policies, and left to the user of the library.",
	New: func(w *world.World) (*Engine, error) {
		slices := map[world.Subject][]cedarPolicy{}
		for g, p := range cedarPolicies(w) {
			slices[g.Subject] = append(slices[g.Subject], cedarPolicy{cedar.PolicyID(g.Name), p})
		}
		return newCedar("Cedar, sliced", w, func(q world.Question) cedar.PolicyIterator { return slicesOf(slices, q) }), nil
	},
}

type cedarPolicy struct {
	id cedar.PolicyID
	*cedar.Policy
}

// several are the policies of several subjects.
type several [][]cedarPolicy

func slicesOf(slices map[world.Subject][]cedarPolicy, q world.Question) several {
	held := append(make(several, 0, 1+len(q.Groups)), slices[world.Subject{Name: q.User}])
	for _, g := range q.Groups {
		held = append(held, slices[world.Subject{Name: g, IsGroup: true}])
	}
	return held
}

func (s several) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, policies := range s {
			for _, p := range policies {
				if !yield(p.id, p.Policy) {
					return
				}
			}
		}
	}
}

func newCedar(name string, w *world.World, policies func(q world.Question) cedar.PolicyIterator) *Engine {
	return &Engine{Name: name, Close: func() {}, Decide: func(i int) (bool, error) {
		q := w.Questions[i]
		decision, diagnostic := cedar.Authorize(policies(q), cedarEntities(q), cedar.Request{
			Principal: cedar.NewEntityUID("User", cedar.String(q.User)), Action: cedarAction(q.Action), Resource: cedarPath(q.Job.Namespace, q.Job.Path),
		})
		if len(diagnostic.Errors) > 0 {
			return false, fmt.Errorf("cedar: %v", diagnostic.Errors)
		}
		return decision == cedar.Allow, nil
	}}
}

// cedarEntities are the user in its groups, and the job below the paths above it.
func cedarEntities(q world.Question) cedar.EntityMap {
	entities := cedar.EntityMap{}
	add := func(uid cedar.EntityUID, parents ...cedar.EntityUID) {
		entities[uid] = cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	var groups []cedar.EntityUID
	for _, g := range q.Groups {
		groups = append(groups, cedar.NewEntityUID("Group", cedar.String(g)))
	}
	add(cedar.NewEntityUID("User", cedar.String(q.User)), groups...)
	paths := world.Paths(q.Job.Path)
	for i, path := range paths {
		if i+1 < len(paths) {
			add(cedarPath(q.Job.Namespace, path), cedarPath(q.Job.Namespace, paths[i+1]))
		} else {
			add(cedarPath(q.Job.Namespace, path))
		}
	}
	return entities
}

func cedarPolicies(w *world.World) iter.Seq2[world.Grant, *cedar.Policy] {
	return func(yield func(world.Grant, *cedar.Policy) bool) {
		for _, g := range w.Grants {
			if !g.IsOpen() {
				continue
			}
			var actions []cedar.EntityUID
			for _, a := range world.Given(g.Action) {
				actions = append(actions, cedarAction(a))
			}
			p := ast.Permit().ActionInSet(actions...).ResourceIn(cedarPath(w.ACLs[g.ACL].Namespace, w.ACLs[g.ACL].Path))
			if g.Subject.IsGroup {
				p = p.PrincipalIn(cedar.NewEntityUID("Group", cedar.String(g.Subject.Name)))
			} else {
				p = p.PrincipalEq(cedar.NewEntityUID("User", cedar.String(g.Subject.Name)))
			}
			if !yield(g, cedar.NewPolicyFromAST(p)) {
				return
			}
		}
	}
}

func cedarAction(name string) cedar.EntityUID {
	return cedar.NewEntityUID("Action", cedar.String(name))
}

func cedarPath(namespace, path string) cedar.EntityUID {
	return cedar.NewEntityUID("Path", cedar.String(namespace+"/"+path))
}
