package delegation

// Verb is the RBAC verb on acls of grantry.dev that stands for authority over an ACL.
const Verb = "grant"

// maxAsked is how many ACLs are asked for by name before only the verb on all of them does.
const maxAsked = 16

// HoldsVerb reports whether a requester holds the RBAC verb on every ACL that a decision is missing. ask asks
// for one ACL, or with an empty name for all of them.
func HoldsVerb(d Decision, ask func(acl string) (bool, error)) (bool, error) {
	if !d.AllowedByVerb() {
		return false, nil
	}
	acls := d.ACLs()
	if d.EveryACL || len(acls) > maxAsked {
		return ask("")
	}
	for _, acl := range acls {
		if ok, err := ask(acl); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
