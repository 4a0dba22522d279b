// Package admission decides what the API server is to do with a write of Grantry's own kinds: who may make it,
// which identity it is stored under, and which labels are Grantry's.
//
// It is pure. It sees one request with the objects before and after it, a snapshot of the policy and the
// time; what only RBAC knows it asks through a function. Mutating admission calls a Stamp function, which
// corrects; validating admission calls a Check function, which refuses whatever a Stamp function would not
// have left so. Either holds without the other.
package admission

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Operation is what a request does with an object.
type Operation uint8

// The operations that are admitted.
const (
	Create Operation = iota + 1
	Update
	Delete
)

// Requester is who makes a request, as the API server authenticated it.
type Requester struct {
	Name   string
	Groups []string
}

// Question asks whether the requester may do something by the cluster's own authorizers. It is a
// SubjectAccessReview without the subject.
type Question struct {
	Verb, Group, Resource, Namespace, Name string
}

// String is the verb and what it is on, as RBAC names them.
func (q Question) String() string {
	text := q.Verb + " on " + q.Resource
	if q.Group != "" {
		text += "." + q.Group
	}
	if q.Name != "" {
		text += " " + q.Name
	}
	if q.Namespace != "" {
		text += " in " + q.Namespace
	}
	return text
}

// Ask answers a question. It may take a request to the API server: rules ask only what can decide.
type Ask func(Question) (bool, error)

// Request is one request with what is known about it.
type Request struct {
	Operation Operation
	By        Requester
	// Snapshot is the policy, or nil as long as there is none to decide by. Unavailable then says why.
	Snapshot    *effective.Snapshot
	Unavailable error
	Mode        permission.SecurityMode
	// Operator is the user name of Grantry itself.
	Operator string
	// At is when the request is decided.
	At  time.Time
	Ask Ask
	// LiveACL reads an ACL as the API server has it; not found is nil.
	LiveACL func(name string) (*v1alpha1.ACL, error)
	// Jobs lists the Jobs of a namespace, or with an empty name all. They are shared: they must not be changed.
	Jobs func(namespace string) ([]v1alpha1.Job, error)
	// Cluster reads the Jobs that a Job depends on, and those that depend on it.
	Cluster Cluster
	// Basis takes what the decision rests on; nil if nobody wants to know.
	Basis *Basis
}

// Cause says why a request is refused, in a closed set.
type Cause uint8

// The causes.
const (
	// Forbidden: the requester lacks a permission.
	Forbidden Cause = iota + 1
	// Invalid: nobody may write that.
	Invalid
	// Unavailable: it can't be decided now.
	Unavailable
)

// Refusal is the error for a request that is refused. Its text is for the requester, and names nothing
// that the requester may not see.
type Refusal struct {
	Cause Cause
	Text  string
}

// Error is the text.
func (r *Refusal) Error() string { return r.Text }

func forbidden(format string, args ...any) error {
	return &Refusal{Cause: Forbidden, Text: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &Refusal{Cause: Invalid, Text: fmt.Sprintf(format, args...)}
}

func unavailable(format string, args ...any) error {
	return &Refusal{Cause: Unavailable, Text: fmt.Sprintf(format, args...)}
}

// maxSubject and maxNamespace are how long the schemas let a subject's name and its namespace be, in characters.
const maxSubject, maxNamespace = 256, 63

// checkLength refuses what no schema will take. Mutating admission comes before the schemas: it would repeat
// megabytes in its answers, and hash a path of that length once for each of its dots.
func checkLength(what, value string, limit int) error {
	if n := utf8.RuneCountInString(value); n > limit {
		return invalid("%s: it has %d characters, and may have %d", what, n, limit)
	}
	return nil
}

// IsOperator reports whether Grantry itself makes the request.
func (r *Request) IsOperator() bool { return r.Operator != "" && r.By.Name == r.Operator }

// who names the requester.
func (r *Request) who() string { return "user " + r.By.Name }

// asked puts a question, and turns a failure into a refusal.
func (r *Request) asked(q Question) (bool, error) {
	yes, err := r.Ask(q)
	if err != nil {
		return false, unavailable("the API server can't be asked now whether %s may %q %s: %v", r.who(), q.Verb, q.Resource, err)
	}
	if yes {
		r.Basis.HasVerb(q)
	}
	return yes, nil
}
