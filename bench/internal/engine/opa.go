package engine

import (
	"context"
	"errors"

	opaast "github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/grantry/grantry/internal/testing/world"
)

// opaPolicy looks up each subject and each path, and iterates over nothing else.
const opaPolicy = `package grantry

default allow := false

allow if data.grants[input.subjects[_]][input.paths[_]][input.action]
`

var opaKind = Kind{
	Name: "OPA",
	Modelled: "The grants as data, `grants[subject][path][action]`, with the actions that an action gives spelled out; a rule " +
		"that looks up each subject and path of the input; a prepared query over the in-memory store that returns AST values. The input " +
		"has all paths above the job, and is made in OPA's own form without a detour by JSON; grants whose window is closed are left out.",
	New: func(w *world.World) (*Engine, error) {
		ctx := context.Background()
		store := inmem.NewFromObjectWithOpts(map[string]any{"grants": opaData(w)}, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
		query, err := rego.New(rego.Query("data.grantry.allow"), rego.Module("grantry.rego", opaPolicy), rego.Store(store)).PrepareForEval(ctx)
		if err != nil {
			return nil, err
		}
		return &Engine{Name: "OPA", Close: func() {}, Decide: func(i int) (bool, error) {
			results, err := query.Eval(ctx, rego.EvalParsedInput(opaInput(w.Questions[i])))
			if err != nil {
				return false, err
			}
			if len(results) != 1 || len(results[0].Expressions) != 1 {
				return false, errors.New("opa: no answer")
			}
			return results.Allowed(), nil
		}}, nil
	},
}

func typedName(who world.Subject) string {
	if who.IsGroup {
		return "group:" + who.Name
	}
	return "user:" + who.Name
}

func opaData(w *world.World) map[string]any {
	bySubject := map[string]any{}
	child := func(of map[string]any, key string) map[string]any {
		if of[key] == nil {
			of[key] = map[string]any{}
		}
		return of[key].(map[string]any)
	}
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

func opaInput(q world.Question) opaast.Value {
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
