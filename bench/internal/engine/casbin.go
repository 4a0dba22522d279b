package engine

import (
	"fmt"

	"github.com/casbin/casbin/v3"
	"github.com/casbin/casbin/v3/model"

	"github.com/grantry/grantry/internal/testing/world"
)

// casbinModel asks what is cheap before what is not.
const casbinModel = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = (r.act == p.act || p.act == "full" || (r.act == "run" && p.act == "update")) && covers(p.obj, r.obj) && g(r.sub, p.sub)
`

var casbinKind = Kind{
	Name: "casbin",
	Modelled: "A policy line for each grant, groups as roles, a matcher that compares actions before paths and paths before roles, and a " +
		"function of ours for paths. There is no index: each decision goes through the lines until one matches. Its cache of answers is off, as users and jobs are " +
		"too many to hit it. Grants whose window is closed are left out.",
	New: func(w *world.World) (*Engine, error) {
		m, err := model.NewModelFromString(casbinModel)
		if err != nil {
			return nil, err
		}
		e, err := casbin.NewEnforcer(m)
		if err != nil {
			return nil, err
		}
		e.AddFunction("covers", func(arguments ...any) (any, error) {
			above, of := arguments[0].(string), arguments[1].(string)
			return len(of) >= len(above) && of[:len(above)] == above && (len(of) == len(above) || of[len(above)] == '.'), nil
		})
		if err := casbinFill(e, w); err != nil {
			return nil, err
		}
		return &Engine{Name: "casbin", Close: func() {}, Decide: func(i int) (bool, error) {
			q := &w.Questions[i]
			return e.Enforce("user:"+q.User, q.Job.Namespace+"/"+q.Job.Path, q.Action)
		}}, nil
	},
}

func casbinFill(e *casbin.Enforcer, w *world.World) error {
	lines, seen := [][]string{}, map[string]bool{}
	for _, g := range w.Grants {
		acl := w.ACLs[g.ACL]
		line := []string{typedName(g.Subject), acl.Namespace + "/" + acl.Path, g.Action}
		if key := fmt.Sprint(line); g.IsOpen() && !seen[key] {
			seen[key] = true
			lines = append(lines, line)
		}
	}
	if ok, err := e.AddPolicies(lines); !ok || err != nil {
		return fmt.Errorf("casbin: add policies: %v, %w", ok, err)
	}
	var members [][]string
	for _, g := range w.Groups {
		for _, m := range g.Members {
			members = append(members, []string{"user:" + m, "group:" + g.Name})
		}
	}
	if ok, err := e.AddGroupingPolicies(members); !ok || err != nil {
		return fmt.Errorf("casbin: add roles: %v, %w", ok, err)
	}
	return nil
}
