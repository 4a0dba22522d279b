package effective

import (
	"math"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// SubjectKind says what a Subject is. The zero kind is nobody.
type SubjectKind uint8

// The kinds of subjects. A service account is the user that it authenticates as.
const (
	KindUser SubjectKind = iota + 1
	KindGroup
)

// String is the kind in lower case.
func (k SubjectKind) String() string {
	switch k {
	case KindUser:
		return "user"
	case KindGroup:
		return "group"
	}
	return "nobody"
}

// Subject is who may hold permissions. The zero Subject is nobody.
type Subject struct {
	Kind SubjectKind
	Name string
}

// UserSubject is the user with a name.
func UserSubject(name string) Subject { return Subject{KindUser, name} }

// GroupSubject is the group with a name.
func GroupSubject(name string) Subject { return Subject{KindGroup, name} }

// ServiceAccount is the user that a service account authenticates as.
func ServiceAccount(namespace, name string) Subject {
	return Subject{KindUser, "system:serviceaccount:" + namespace + ":" + name}
}

// IsZero reports whether the subject is nobody.
func (s Subject) IsZero() bool { return s.Name == "" || (s.Kind != KindUser && s.Kind != KindGroup) }

// String is the kind and the name: "user alice".
func (s Subject) String() string { return s.Kind.String() + " " + s.Name }

func (s Subject) compare(other Subject) int {
	switch {
	case s.Kind != other.Kind:
		return int(s.Kind) - int(other.Kind)
	case s.Name < other.Name:
		return -1
	case s.Name > other.Name:
		return 1
	}
	return 0
}

// ACL is a protected resource.
type ACL struct {
	Name     string
	Resource permission.Resource
}

// Grant gives subjects actions on an ACL in a window: from NotBefore on, up to and not at ExpiresAt.
// A zero time leaves that side open.
type Grant struct {
	Name, ACL            string
	Subjects             []Subject
	Actions              permission.Actions
	NotBefore, ExpiresAt time.Time
}

// Group is a Group object: users whom it makes members of the group of its name, besides those of
// whom the authenticator says so. Groups are flat: a group can't be a member.
type Group struct {
	Name    string
	Members []Subject
}

// Input is everything that a snapshot is made of.
type Input struct {
	ACLs   []ACL
	Grants []Grant
	Groups []Group
}

// Query asks whether a subject may do at least one of AnyOf on a resource at a time.
type Query struct {
	User     Subject  // who asks: a user, or a group as such
	Groups   []string // the groups that the authenticator reported
	Resource permission.Resource
	AnyOf    permission.Actions
	At       time.Time // windows count as closed if it is zero
}

// Verdict answers a Query. The zero Verdict is a refusal.
type Verdict struct {
	Allowed    bool
	Superuser  bool               // by dcos:superuser
	Grant, ACL string             // that decided
	Via        Subject            // the subject of the Grant that matched: the user or a group
	Membership string             // the Group object that made the user a member of Via, if one did
	Actions    permission.Actions // that the Grant gives
	ExpiresAt  time.Time          // when the Grant ends; zero if it doesn't
}

// Times are kept as nanoseconds since 1970, which reach from 1678 to 2262. What lies beyond counts as
// the end of that range.
const (
	distantPast   = math.MinInt64 // an open start
	distantFuture = math.MaxInt64 // an open end
)

var (
	firstInstant = time.Unix(0, distantPast+1)
	lastInstant  = time.Unix(0, distantFuture-1)
)

func nanos(t time.Time) int64 {
	switch {
	case t.Before(firstInstant):
		return distantPast + 1
	case t.After(lastInstant):
		return distantFuture - 1
	}
	return t.UnixNano()
}

func startNanos(t time.Time) int64 {
	if t.IsZero() {
		return distantPast
	}
	return nanos(t)
}

func endNanos(t time.Time) int64 {
	if t.IsZero() {
		return distantFuture
	}
	return nanos(t)
}

func startTime(n int64) time.Time {
	if n == distantPast {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func endTime(n int64) time.Time {
	if n == distantFuture {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
