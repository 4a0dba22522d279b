package permission

import "strings"

// Family says how the tail of an id is read. The zero Family is that of no id.
type Family uint8

// The families, as described in the package documentation.
const (
	FamilySuperuser Family = iota + 1
	FamilyJobs
	FamilyServices
	FamilyAppID
	FamilyRole
	FamilyUser
	FamilyPrincipal
	FamilyAdminRouter
	FamilyOther
)

var familyNames = [...]string{
	"invalid", "superuser", "jobs", "services", "app_id", "role", "user", "principal", "adminrouter", "other",
}

// String names the family.
func (f Family) String() string {
	if int(f) >= len(familyNames) {
		return familyNames[0]
	}
	return familyNames[f]
}

// separators is the set of bytes that end a segment of a tail.
type separators uint8

const (
	dot separators = 1 << iota
	slash
	colon
)

func (s separators) has(c byte) bool {
	switch c {
	case '.':
		return s&dot != 0
	case '/':
		return s&slash != 0
	case ':':
		return s&colon != 0
	}
	return false
}

// index is the place of the first separator in a tail, or -1.
func (s separators) index(tail string) int {
	switch s {
	case 0:
		return -1
	case dot:
		return strings.IndexByte(tail, '.')
	case slash:
		return strings.IndexByte(tail, '/')
	case colon:
		return strings.IndexByte(tail, ':')
	}
	return strings.IndexAny(tail, jobSeparators)
}

// Resource is a parsed resource id. It is comparable only through Covers, Equal and Canonical: two
// spellings of one id are different Go values. The zero Resource is no id.
type Resource struct {
	given  string // as it was written; empty if it was made from its parts
	scope  string // the part of the head that varies: the instance, or "master:task:app_id"
	lead   string // a segment before the tail's; empty if there is none
	tail   string // without its leading and trailing separator
	family Family
	seps   separators
}

const (
	jobSeparators = "./"
	prefix        = "dcos:"
	superuserID   = "dcos:superuser"
	routerHead    = "dcos:adminrouter"
	jobsHead      = "dcos:service:metronome:"
	jobsEnd       = ":jobs"
	servicesHead  = "dcos:service:marathon:"
	servicesEnd   = ":services"
	mesosHead     = "dcos:mesos:"
)

// Superuser is dcos:superuser.
func Superuser() Resource { return Resource{family: FamilySuperuser} }

// AdminRouter is dcos:adminrouter:<what>, such as "acs" or "service:metronome".
func AdminRouter(what string) Resource { return Resource{family: FamilyAdminRouter, tail: what} }

// JobResource is the id of a Job, or of all jobs under a path, made without allocating. The instance
// is the Job's namespace and path is its name; the empty path stands for all jobs of the instance.
// Nothing is checked: a name that no Job can have is an id that only broader ids cover. Use
// ParseJobResource for what people write.
func JobResource(instance, path string) Resource {
	return Resource{family: FamilyJobs, scope: instance, tail: path, seps: dot}
}

// AppIDKind says which app_id family an id belongs to.
type AppIDKind uint8

// The app_id families that guard the parts of a run.
const (
	MasterExecutor AppIDKind = iota
	MasterTask
	AgentExecutor
	AgentTask
	AgentSandbox
	AgentContainer
	AgentNestedContainerSession
)

var appIDScopes = [...]string{
	MasterExecutor:              "master:executor:app_id",
	MasterTask:                  "master:task:app_id",
	AgentExecutor:               "agent:executor:app_id",
	AgentTask:                   "agent:task:app_id",
	AgentSandbox:                "agent:sandbox:app_id",
	AgentContainer:              "agent:container:app_id",
	AgentNestedContainerSession: "agent:nested_container_session:app_id",
}

// AppIDResource is the app_id of a Job's work, made without allocating: /dev/batch/job1 for the Job
// dev.batch.job1 if instance is empty (the default instance), else /<instance>/dev/batch/job1. An
// unknown kind gives the zero Resource.
func AppIDResource(kind AppIDKind, instance, job string) Resource {
	if int(kind) >= len(appIDScopes) {
		return Resource{}
	}
	return Resource{family: FamilyAppID, scope: appIDScopes[kind], lead: instance, tail: job, seps: dot}
}

// Family returns the family of the id.
func (r Resource) Family() Family { return r.family }

// IsZero reports whether r is no id at all.
func (r Resource) IsZero() bool { return r.family == 0 }

// Scope is what distinguishes heads within a family: the instance of a jobs or services id,
// "master:task:app_id" and the like in dcos:mesos ids, else empty. Ids of different scope or family
// never cover each other (dcos:superuser apart).
func (r Resource) Scope() string { return r.scope }

// Size is how many bytes r holds on to.
func (r Resource) Size() int { return len(r.given) + len(r.scope) + len(r.lead) + len(r.tail) }

// Path returns the segments of the tail.
func (r Resource) Path() Path {
	return Path{lead: r.lead, tail: r.tail, seps: r.seps, more: r.tail != ""}
}

// Path walks the segments of a tail without allocating.
type Path struct {
	lead, tail string
	seps       separators
	more       bool
}

// Next returns the next segment, or false after the last one.
func (p *Path) Next() (segment string, ok bool) {
	if p.lead != "" {
		segment, p.lead = p.lead, ""
		return segment, true
	}
	if !p.more {
		return "", false
	}
	if i := p.seps.index(p.tail); i >= 0 {
		segment, p.tail = p.tail[:i], p.tail[i+1:]
		return segment, true
	}
	p.more = false
	return p.tail, true
}

// Covers reports whether a grant on r reaches asked, as the package documentation describes.
func (r Resource) Covers(asked Resource) bool {
	if r.family == FamilySuperuser {
		return asked.family != 0
	}
	if r.family == 0 || r.family != asked.family || r.scope != asked.scope {
		return false
	}
	if r.family == FamilyAdminRouter {
		return r.tail == asked.tail
	}
	if r.seps == asked.seps && r.seps != dot|slash && r.lead == "" && asked.lead == "" {
		return r.isPrefix(asked.tail)
	}
	_, left := r.Common(asked)
	return left == 0
}

// isPrefix reports whether the segments of r's tail start those of a tail with the same separators.
// It is a shortcut for Common: most ids use one separator.
func (r Resource) isPrefix(tail string) bool {
	n := len(r.tail)
	if n == 0 {
		return true
	}
	if len(tail) <= n {
		return tail == r.tail
	}
	return r.seps.has(tail[n]) && tail[:n] == r.tail
}

// Common counts the segments at the start of r's tail that asked's tail shares, and the segments of r
// that are left after them. It is only meaningful for ids of one family and scope.
func (r Resource) Common(asked Resource) (shared, left int) {
	mine, theirs := r.Path(), asked.Path()
	for {
		segment, ok := mine.Next()
		if !ok {
			return shared, 0
		}
		if other, ok := theirs.Next(); !ok || other != segment {
			break
		}
		shared++
	}
	for left = 1; ; left++ {
		if _, ok := mine.Next(); !ok {
			return shared, left
		}
	}
}

// Equal reports whether two ids mean the same, whatever their spelling.
func (r Resource) Equal(other Resource) bool { return r.Covers(other) && other.Covers(r) }

// String is the id as it was given, or its canonical form if it was made from its parts.
func (r Resource) String() string {
	if r.given != "" {
		return r.given
	}
	return r.Canonical()
}

// Canonical is the one normal spelling of the id: job paths with dots, other paths with a leading and
// no trailing slash, an omitted tail left out. The zero Resource gives "".
func (r Resource) Canonical() string {
	switch r.family {
	case FamilySuperuser:
		return superuserID
	case FamilyJobs:
		return jobsHead + r.scope + jobsEnd + r.canonicalTail(":", ".")
	case FamilyServices:
		return servicesHead + r.scope + servicesEnd + r.canonicalTail(":/", "/")
	case FamilyAppID:
		return mesosHead + r.scope + r.canonicalTail(":/", "/")
	case FamilyRole, FamilyUser, FamilyPrincipal:
		return mesosHead + r.scope + r.canonicalTail(":", ":")
	case FamilyAdminRouter:
		return routerHead + r.canonicalTail(":", ":")
	case FamilyOther:
		return prefix + r.tail
	}
	return ""
}

func (r Resource) canonicalTail(lead, sep string) string {
	var b strings.Builder
	path := r.Path()
	for {
		segment, ok := path.Next()
		if !ok {
			return b.String()
		}
		b.WriteString(lead)
		b.WriteString(segment)
		lead = sep
	}
}

// Describe names the id for people: "jobs dev.batch in metronome", "all jobs in metronome", else the
// id itself.
func (r Resource) Describe() string {
	if r.family != FamilyJobs {
		return r.String()
	}
	if tail := r.canonicalTail("", "."); tail != "" {
		return "jobs " + tail + " in " + r.scope
	}
	return "all jobs in " + r.scope
}
