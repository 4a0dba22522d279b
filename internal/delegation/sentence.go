package delegation

import (
	"fmt"
	"time"
)

// scope says what the sentence of a refusal speaks of.
type scope uint8

const (
	scopeGrant scope = iota
	scopeGroup
	scopeACL
	scopeDescription
)

func verb(before, after bool) string {
	switch {
	case before && after:
		return "change"
	case after:
		return "create"
	}
	return "delete"
}

func quote(name string) string { return `"` + name + `"` }

// String is one sentence: what is lacking and what to do, or that nothing is. It names no ACL but the one that
// the requester named, and no Grant of others.
func (d Decision) String() string {
	act := fmt.Sprintf("%s may not %s", d.who, d.what)
	switch {
	case d.Allowed():
		return fmt.Sprintf("%s may %s", d.who, d.what)
	case !d.decided:
		return act + ": who may do what is not known yet; try again in a moment"
	case d.LastSuperuser:
		return act + ": nobody would be a superuser for good any more; first grant dcos:superuser, without an end, " +
			"to somebody else. docs/operations.md has the way out if nobody can"
	}
	return act + ": " + d.lacking()
}

func (d Decision) lacking() string {
	n := d.Missing[0]
	switch {
	case d.scope == scopeGroup:
		return `it takes "full" on everything that the group holds, for as long as the group holds it, and it is not ` +
			`held for all of that; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev`
	case n.ACLMissing && d.scope == scopeGrant:
		return fmt.Sprintf("there is no ACL %s yet, and what it will protect is not known; create the ACL first, "+
			"or ask a superuser or somebody with the RBAC verb \"grant\" on acls.grantry.dev %s", quote(n.ACL), quote(n.ACL))
	}
	return fmt.Sprintf(`it takes "full" on what ACL %s protects%s%s; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev%s`,
		quote(n.ACL), d.span(n), n.near(), d.verbName(n))
}

// span says for how long authority is needed, where that is not just now.
func (d Decision) span(n Need) string {
	switch {
	case d.scope == scopeDescription:
		return ""
	case d.scope == scopeACL && (n.Until.IsZero() || n.Until.Sub(n.From) > 1):
		return ", for as long as its Grants last"
	case d.scope == scopeACL:
		return ""
	case n.Until.IsZero():
		return " without an end"
	}
	return " until " + stamp(n.Until)
}

// near says how far the requester's own authority goes.
func (n Need) near() string {
	switch {
	case n.HeldNow && !n.HeldUntil.IsZero():
		return ", which is held until " + stamp(n.HeldUntil) + " only"
	case n.HeldNow:
		return ", which is held by no one Grant for all of that time"
	}
	return ""
}

func (d Decision) verbName(n Need) string {
	if d.EveryACL {
		return " for all ACLs"
	}
	return " " + quote(n.ACL)
}

func stamp(t time.Time) string {
	return t.UTC().Format(time.RFC3339)
}
