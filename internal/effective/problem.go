package effective

import (
	"cmp"
	"fmt"
	"slices"
)

// ObjectKind is the kind of an object that has a problem.
type ObjectKind string

// The kinds of objects.
const (
	ObjectACL   ObjectKind = "ACL"
	ObjectGrant ObjectKind = "Grant"
	ObjectGroup ObjectKind = "Group"
)

// ProblemReason classifies a problem.
type ProblemReason string

// The reasons of problems.
const (
	DuplicateName  ProblemReason = "DuplicateName"  // several objects have the name: none is served
	MissingName    ProblemReason = "MissingName"    // the object is not served
	NoResource     ProblemReason = "NoResource"     // the ACL counts as missing
	ACLNotFound    ProblemReason = "ACLNotFound"    // the grant counts once its ACL is there
	NoSubjects     ProblemReason = "NoSubjects"     // the grant gives nothing
	InvalidSubject ProblemReason = "InvalidSubject" // the subject or member is left out
	NoActions      ProblemReason = "NoActions"      // the grant gives nothing
	EmptyWindow    ProblemReason = "EmptyWindow"    // the grant never counts
)

// Problem is something that a snapshot can't serve, while it serves the rest.
type Problem struct {
	Kind   ObjectKind
	Name   string
	Reason ProblemReason
	Detail string
}

// String is one sentence.
func (p Problem) String() string { return fmt.Sprintf("%s %q: %s", p.Kind, p.Name, p.Detail) }

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Detail, b.Detail))
}

// intake collects the objects of an Input by name, and the problems.
type intake struct {
	problems []Problem
}

func (i *intake) add(kind ObjectKind, name string, reason ProblemReason, format string, args ...any) {
	i.problems = append(i.problems, Problem{kind, name, reason, fmt.Sprintf(format, args...)})
}

// unique calls use for each object whose name no other has.
func unique[T any](i *intake, kind ObjectKind, objects []T, name func(*T) string, use func(*T)) {
	seen := make(map[string]int, len(objects))
	for k := range objects {
		seen[name(&objects[k])]++
	}
	for k := range objects {
		switch n := name(&objects[k]); {
		case n == "":
			i.add(kind, n, MissingName, "it has no name")
		case seen[n] == 1:
			use(&objects[k])
		case seen[n] > 1:
			i.add(kind, n, DuplicateName, "%d objects have this name: none of them counts", seen[n])
			seen[n] = -1
		}
	}
}

func (i *intake) checkGrant(g *Grant, hasACL bool) {
	if !hasACL {
		i.add(ObjectGrant, g.Name, ACLNotFound, "its ACL %q does not exist", g.ACL)
	}
	valid := 0
	for _, who := range g.Subjects {
		if isSubject(who) {
			valid++
			continue
		}
		i.add(ObjectGrant, g.Name, InvalidSubject, "subject %q is neither a user nor a group with a name", who)
	}
	if valid == 0 {
		i.add(ObjectGrant, g.Name, NoSubjects, "it has no subject")
	}
	if g.Actions.Implied() == 0 {
		i.add(ObjectGrant, g.Name, NoActions, "it has no action")
	}
	if startNanos(g.NotBefore) >= endNanos(g.ExpiresAt) {
		i.add(ObjectGrant, g.Name, EmptyWindow, "its window ends before it opens")
	}
}

func (i *intake) checkGroup(g *Group) {
	for _, who := range g.Members {
		if !isMember(who) {
			i.add(ObjectGroup, g.Name, InvalidSubject, "member %q is not a user with a name", who)
		}
	}
}

func (i *intake) sorted() []Problem {
	slices.SortFunc(i.problems, compareProblems)
	return i.problems
}
