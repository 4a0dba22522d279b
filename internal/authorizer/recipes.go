package authorizer

import "github.com/grantry/grantry/internal/permission"

// question is an action on a resource. All questions of a request must be answered yes.
type question struct {
	resource permission.Resource
	anyOf    permission.Actions
}

// recipe is what a request on the pod of a run needs, after the recipes of DC/OS: "job access" with its
// addition in strict mode, and "debugging". A terminal is not told from none, because the API server does
// not say which is wanted. In strict mode a container that is added to a pod changes the pod, and asks for
// update. In permissive mode "debugging" asks for nothing of the Job, as in DC/OS: who has it enters every run.
type recipe uint8

const (
	noRecipe recipe = iota
	seeTask
	readLog
	enter
	addContainer
)

// podRecipe says what a request on a pod needs.
func podRecipe(r *Request) recipe {
	switch r.Subresource {
	case "":
		switch r.Verb {
		case verbGet, verbList, verbWatch:
			return seeTask
		}
	case "status", "resize":
		if r.Verb == verbGet {
			return seeTask // they are read as the whole pod
		}
	case "log":
		if r.Verb == verbGet {
			return readLog
		}
	case "exec", "attach", "portforward":
		if r.Verb == verbGet || r.Verb == verbCreate {
			return enter
		}
	case "proxy":
		return enter // whatever the verb: it is the method of the request that the pod receives
	case "ephemeralcontainers":
		switch r.Verb {
		case verbGet, verbUpdate, verbPatch:
			return addContainer
		}
	}
	return noRecipe
}

var (
	policyAdmin = permission.AdminRouter("acs")
	opsMesos    = permission.AdminRouter("ops:mesos")
	opsSlave    = permission.AdminRouter("ops:slave")
	masterRole  = permission.MustParseResource("dcos:mesos:master:framework:role:*")
	agentRole   = permission.MustParseResource("dcos:mesos:agent:framework:role:*")
)

// maxQuestions is the length of the longest recipe.
const maxQuestions = 10

// list is a list of questions that need not be allocated.
type list struct {
	items [maxQuestions]question
	n     int
}

func (l *list) add(r permission.Resource, anyOf permission.Actions) {
	l.items[l.n] = question{r, anyOf}
	l.n++
}

// of fills the list with the questions of a recipe about the Jobs at and below a path. The instance is
// what app_ids have before the path.
func (l *list) of(rec recipe, strict bool, namespace, instance, path string) {
	l.n = 0
	appID := func(kind permission.AppIDKind, anyOf permission.Actions) {
		l.add(permission.AppIDResource(kind, instance, path), anyOf)
	}
	if rec == seeTask || rec == readLog {
		l.add(permission.JobResource(namespace, path), permission.Read)
	}
	l.add(opsMesos, permission.Full)
	if rec != seeTask {
		l.add(opsSlave, permission.Full)
	}
	if !strict {
		return
	}
	l.add(masterRole, permission.Read)
	appID(permission.MasterExecutor, permission.Read)
	appID(permission.MasterTask, permission.Read)
	switch rec {
	case seeTask, readLog:
		l.add(agentRole, permission.Read)
		appID(permission.AgentExecutor, permission.Read)
		appID(permission.AgentTask, permission.Read)
		if rec == readLog {
			appID(permission.AgentSandbox, permission.Read)
		}
	case enter, addContainer:
		appID(permission.AgentContainer, permission.Read)
		appID(permission.AgentNestedContainerSession, permission.Create)
		if rec == addContainer {
			appID(permission.AgentContainer, permission.Update)
		}
	case noRecipe:
	}
}
