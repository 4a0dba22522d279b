package engine

import (
	"context"
	"errors"
	"math"

	opaast "github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/grantry/grantry/internal/testing/world"
)

// opaPolicy decides all of a question itself. It looks up each subject and each path, and iterates over nothing else.
const opaPolicy = `package grantry

default allow := false

subjects contains concat(":", ["user", input.user])

subjects contains concat(":", ["group", group]) if some group in input.groups

segments := split(input.job, ".")

paths contains concat(".", array.slice(segments, 0, n)) if some n in numbers.range(1, count(segments))

allow if {
	some subject in subjects
	some path in paths
	some grant in data.grants[subject][input.namespace][path]
	data.gives[grant.action][input.action]
	input.now < grant.until
}
`

var opaKind = Kind{
	Name: "OPA",
	Modelled: "The grants as data, `grants[subject][namespace][path]`, windows included; a rule that makes the paths of the question, looks " +
		"up each subject and path, and compares action and time; a prepared query over the in-memory store. The input is the question.",
	New: func(w *world.World) (*Engine, error) {
		gives := map[string]any{}
		for _, action := range world.Actions {
			gives[action] = set(world.Given(action))
		}
		store := inmem.NewFromObject(map[string]any{"grants": opaGrants(w), "gives": gives})
		return newOPA("OPA", opaPolicy, store, w, func(q world.Question) rego.EvalOption {
			return rego.EvalInput(map[string]any{
				"user": q.User, "groups": q.Groups, "namespace": q.Job.Namespace, "job": q.Job.Path, "action": q.Action, "now": world.Noon.Unix(),
			})
		})
	},
}

// opaExpandedPolicy has little left to decide.
const opaExpandedPolicy = `package grantry

default allow := false

allow if data.grants[input.subjects[_]][input.paths[_]][input.action]
`

var opaExpandedKind = Kind{
	Name: "OPA, expanded", Tuned: true,
	Modelled: "The program around it does half of the work: it makes the subjects and all paths of the question, keeps " +
		"`grants[subject][path][action]` with the actions that an action gives spelled out, and takes away grants whose window closes. " +
		"Store and input are in the types of OPA's syntax trees, so that nothing is converted.",
	New: func(w *world.World) (*Engine, error) {
		store := inmem.NewFromObjectWithOpts(map[string]any{"grants": opaExpanded(w)}, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
		return newOPA("OPA, expanded", opaExpandedPolicy, store, w, func(q world.Question) rego.EvalOption { return rego.EvalParsedInput(opaTerms(q)) })
	},
}

func newOPA(name, policy string, store storage.Store, w *world.World, input func(world.Question) rego.EvalOption) (*Engine, error) {
	ctx := context.Background()
	query, err := rego.New(rego.Query("data.grantry.allow"), rego.Module("grantry.rego", policy), rego.Store(store)).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	return &Engine{Name: name, Close: func() {}, Decide: func(i int) (bool, error) {
		results, err := query.Eval(ctx, input(w.Questions[i]))
		if err != nil {
			return false, err
		}
		if len(results) != 1 || len(results[0].Expressions) != 1 {
			return false, errors.New("opa: no answer")
		}
		return results.Allowed(), nil
	}}, nil
}

func typedName(who world.Subject) string {
	if who.IsGroup {
		return "group:" + who.Name
	}
	return "user:" + who.Name
}

// child is the object under a key, made if there is none.
func child(of map[string]any, key string) map[string]any {
	if of[key] == nil {
		of[key] = map[string]any{}
	}
	return of[key].(map[string]any)
}

func set(of []string) map[string]any {
	members := map[string]any{}
	for _, member := range of {
		members[member] = true
	}
	return members
}

func opaGrants(w *world.World) map[string]any {
	bySubject := map[string]any{}
	for _, g := range w.Grants {
		acl := w.ACLs[g.ACL]
		until := int64(math.MaxInt64)
		if !g.ExpiresAt.IsZero() {
			until = g.ExpiresAt.Unix()
		}
		paths := child(child(bySubject, typedName(g.Subject)), acl.Namespace)
		list, _ := paths[acl.Path].([]any)
		paths[acl.Path] = append(list, map[string]any{"action": g.Action, "until": until})
	}
	return bySubject
}

func opaExpanded(w *world.World) map[string]any {
	bySubject := map[string]any{}
	for _, g := range w.Grants {
		if !g.IsOpen() {
			continue
		}
		acl := w.ACLs[g.ACL]
		actions := child(child(bySubject, typedName(g.Subject)), acl.Namespace+"/"+acl.Path)
		for _, a := range world.Given(g.Action) {
			actions[a] = true
		}
	}
	return bySubject
}

// opaTerms is a question in OPA's own form.
func opaTerms(q world.Question) opaast.Value {
	subjects := []*opaast.Term{opaast.StringTerm(typedName(world.Subject{Name: q.User}))}
	for _, g := range q.Groups {
		subjects = append(subjects, opaast.StringTerm(typedName(world.Subject{Name: g, IsGroup: true})))
	}
	var paths []*opaast.Term
	for _, p := range world.Paths(q.Job.Path) {
		paths = append(paths, opaast.StringTerm(q.Job.Namespace+"/"+p))
	}
	return opaast.NewObject(
		opaast.Item(opaast.StringTerm("subjects"), opaast.ArrayTerm(subjects...)),
		opaast.Item(opaast.StringTerm("paths"), opaast.ArrayTerm(paths...)),
		opaast.Item(opaast.StringTerm("action"), opaast.StringTerm(q.Action)),
	)
}
