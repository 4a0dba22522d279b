package authorizer

import (
	"context"
	"errors"
	"time"

	"k8s.io/utils/clock"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Verdict is the answer to a request. The zero Verdict is no opinion, which allows nothing.
type Verdict uint8

// The verdicts.
const (
	NoOpinion Verdict = iota
	Allow
	Deny
)

// String is the name of the verdict, as a label of metrics.
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	case NoOpinion:
	}
	return "no_opinion"
}

// Decision is a verdict and why.
type Decision struct {
	Verdict Verdict
	// Kind is what the request was about.
	Kind Kind
	// Family is that of the permission string that decided: of a refusal the missing one, of an allow the
	// first, or that of a superuser. It is zero if none was asked.
	Family permission.Family
	// Reason is for the person who asked: on allow it names Grants and ACLs, otherwise what is missing.
	Reason string
	// Err is why the question could not be answered; the verdict holds all the same.
	Err error
}

var (
	// ErrNotFound says that there is no such run or pod.
	ErrNotFound = errors.New("not found")
	// ErrOfNoRun says that there is such a pod, and that it is no run's.
	ErrOfNoRun = errors.New("belongs to no run")
)

// Lookup finds the Jobs that requests are about.
type Lookup interface {
	// JobOfRun returns the name of the Job of a JobRun, or ErrNotFound. It never guesses.
	JobOfRun(ctx context.Context, namespace, name string) (string, error)
	// JobOfPod returns the name of the Job of a run's pod, ErrNotFound or ErrOfNoRun. It never guesses: the name is
	// empty, which stands for all Jobs of the namespace, for a pod that has outlived its run.
	JobOfPod(ctx context.Context, namespace, name string) (string, error)
	// HoldsJobs reports whether there is a Job, or a pod that one has left, in a namespace, or in any if the namespace is empty.
	HoldsJobs(ctx context.Context, namespace string) (bool, error)
}

// Policy has the current snapshot, or nil as long as there is none to decide by.
type Policy interface {
	Snapshot() *effective.Snapshot
	// Unavailable says why there is none.
	Unavailable() error
}

// Authorizer decides. All fields must be set but DefaultInstance.
type Authorizer struct {
	Policy Policy
	Lookup Lookup
	// Clock tells the time at which windows are judged.
	Clock clock.PassiveClock
	Mode  permission.SecurityMode
	// DefaultInstance is the namespace whose app_ids have no namespace in them.
	DefaultInstance string
}

const (
	verbGet              = "get"
	verbList             = "list"
	verbWatch            = "watch"
	verbCreate           = "create"
	verbUpdate           = "update"
	verbPatch            = "patch"
	verbDelete           = "delete"
	verbDeleteCollection = "deletecollection"
	verbAny              = "*" // only asked by people: kubectl auth can-i '*' jobs
)

// Authorize decides a request. A decision by name or by label selector allocates nothing but the reason.
func (a *Authorizer) Authorize(ctx context.Context, r *Request) Decision {
	c := call{Authorizer: a, Request: r, kind: kindOf(r)}
	if c.kind == Unguarded || a.Mode == permission.ModeDisabled {
		return Decision{Kind: c.kind}
	}
	if c.kind == Pods {
		return c.pods(ctx)
	}
	action := actionOf(c.kind, r.Verb)
	if action == 0 {
		return Decision{Kind: c.kind} // a verb that means something to RBAC alone
	}
	if !c.load() {
		return c.unavailable()
	}
	switch {
	case r.Subresource != "":
		return c.refuse("only Grantry itself uses the subresource " + clip(r.Subresource) + " of " + r.Resource)
	case !c.isSane():
		return c.refuse("nothing in Grantry has such a name")
	case c.kind == PolicyObjects:
		c.asked.add(policyAdmin, permission.Full)
		if c.decide() < 0 {
			return c.allow()
		}
		return c.missing()
	case c.kind == JobRuns:
		return c.runs(ctx, action)
	}
	return c.jobs(action)
}

// Failed is the decision on a request that Grantry failed to decide.
func (a *Authorizer) Failed(reason string, err error) Decision {
	c := call{Authorizer: a, Request: &Request{}}
	d := c.refuse(reason)
	d.Err = err
	return d
}

// actionOf is what a verb needs on the Job, or 0 for verbs that Grantry does not know.
func actionOf(kind Kind, verb string) permission.Actions {
	switch verb {
	case verbAny:
		return permission.Full
	case verbGet, verbList, verbWatch:
		return permission.Read
	case verbCreate, verbUpdate, verbPatch, verbDelete, verbDeleteCollection:
		if kind == JobRuns {
			return permission.Run
		}
	}
	switch verb {
	case verbCreate:
		return permission.Create
	case verbUpdate, verbPatch:
		return permission.Update
	case verbDelete, verbDeleteCollection:
		return permission.Delete
	}
	return 0
}

// call is one request on its way to a decision.
type call struct {
	*Authorizer
	*Request
	kind     Kind
	snapshot *effective.Snapshot
	at       time.Time
	asked    list
	yes      [maxQuestions]effective.Verdict // to asked
	no       int                             // the place in asked of the first that is answered no, or -1
}

// load takes the snapshot that the whole request is decided by.
func (c *call) load() bool {
	c.snapshot = c.Policy.Snapshot()
	c.at = c.Clock.Now()
	return c.snapshot != nil
}

// unavailable refuses for want of a snapshot.
func (c *call) unavailable() Decision { return c.refuse(c.Policy.Unavailable().Error()) }

// isSane keeps what can't exist out of reasons and look-ups.
func (c *call) isSane() bool {
	return len(c.Namespace) <= maxNamespace && len(c.Name) <= maxName
}

func (c *call) query(q question) effective.Query {
	return effective.Query{
		User: effective.UserSubject(c.User), Groups: c.Groups,
		Resource: q.resource, AnyOf: q.anyOf, At: c.at,
	}
}

// jobs decides a request on Jobs.
func (c *call) jobs(action permission.Actions) Decision {
	switch {
	case c.Name != "":
		if c.holds(action, c.Name) {
			return c.allow()
		}
		if c.isFiltered() {
			if d := c.collection(action); d.Verdict == Allow {
				return d
			}
			c.holds(action, c.Name)
		}
		return c.missing()
	case c.Verb == verbCreate:
		return c.beneath(action)
	}
	return c.collection(action)
}

// runs decides a request on JobRuns.
func (c *call) runs(ctx context.Context, action permission.Actions) Decision {
	if c.holds(action, "") {
		return c.allow()
	}
	if c.Name == "" {
		if c.Verb == verbCreate {
			return c.beneath(action)
		}
		return c.collection(action)
	}
	job, err := c.Lookup.JobOfRun(ctx, c.Namespace, c.Name)
	if errors.Is(err, ErrNotFound) && c.Verb == verbCreate {
		return c.beneath(action) // by server-side apply: the run's Job is in the object, which admission sees
	}
	if err == nil && c.holds(action, job) {
		return c.allow()
	}
	if c.isFiltered() {
		if d := c.collection(action); d.Verdict == Allow {
			return d
		}
	}
	if err != nil {
		return c.unknown("JobRun", err)
	}
	if failed := (question{permission.JobResource(c.Namespace, job), action}); c.mayName(failed, job) {
		return c.refuse(c.brief(failed))
	}
	return c.unknown("JobRun", ErrNotFound)
}

// collection decides a request on all objects, or on those that a label selector leaves.
func (c *call) collection(action permission.Actions) Decision {
	if c.holds(action, "") {
		return c.allow()
	}
	first, unreadable := "", false
	if c.isFiltered() {
		for i := range c.pins() {
			path, hashed, ok := subtree(&c.Requirements[i])
			unreadable = unreadable || hashed
			if !ok {
				continue
			}
			if c.holds(action, path) {
				return c.allow()
			}
			if first == "" {
				first = path
			}
		}
	}
	c.holds(action, first)
	d := c.missing()
	switch {
	case first != "":
	case unreadable:
		d.Reason += "; the label of so long a path stands for no path that can be read back: select by a shorter one"
	case c.isFiltered():
		d.Reason += "; a label selector " + ancestorPrefix + "<path> asks for the jobs at and below a path only"
	}
	return d
}

// isFiltered reports whether a label selector limits what the request reaches.
func (c *call) isFiltered() bool {
	return c.Verb == verbList || c.Verb == verbWatch || c.Verb == verbDeleteCollection
}

// pins is how many requirements are looked at.
func (c *call) pins() int { return min(len(c.Requirements), maxPins) }

// beneath decides a request whose Job is not known yet.
func (c *call) beneath(action permission.Actions) Decision {
	c.asked.n = 0
	c.asked.add(permission.JobResource(c.Namespace, ""), action)
	if v := c.snapshot.DecideBeneath(c.query(c.asked.items[0])); v.Allowed {
		c.yes[0] = v
		return c.allow()
	}
	return c.refuse(c.who() + ` may not "` + action.String() + `" on any job in ` + c.where())
}

// holds asks for an action on the jobs at and below a path; the empty path is all of the namespace.
func (c *call) holds(action permission.Actions, path string) bool {
	c.asked.n = 0
	c.asked.add(permission.JobResource(c.Namespace, path), action)
	return c.decide() < 0
}

// decide asks all questions, and returns the place of the first that is answered no, or -1.
func (c *call) decide() int {
	for c.no = range c.asked.n {
		c.yes[c.no] = c.snapshot.Decide(c.query(c.asked.items[c.no]))
		if !c.yes[c.no].Allowed {
			return c.no
		}
	}
	c.no = -1
	return c.no
}

func (c *call) isStrict() bool { return c.Mode == permission.ModeStrict }

// instance is what app_ids of the namespace have before the path.
func (c *call) instance() string {
	if c.Namespace == c.DefaultInstance {
		return ""
	}
	return c.Namespace
}

// refuse is a decision that does not allow.
func (c *call) refuse(reason string) Decision {
	d := Decision{Reason: reason}
	if c.isStrict() {
		d.Verdict = Deny
	}
	return c.decided(d)
}
