package permission

// Rule is a set of actions on a resource: held, all of them are; asked for, all of them are.
type Rule struct {
	Resource Resource
	Actions  Actions
}

// Effective is what actions are worth on this resource: any one on dcos:superuser is worth all of
// them, and in the family adminrouter only full is worth anything.
func (r Resource) Effective(actions Actions) Actions {
	switch {
	case r.family == FamilySuperuser && actions&AllActions != 0:
		return AllActions
	case r.family == 0:
		return 0
	case r.family == FamilyAdminRouter:
		return (actions & Full).Implied()
	}
	return actions.Implied()
}

// Ignored is the part of actions that grants nothing on this resource.
func (r Resource) Ignored(actions Actions) Actions {
	return actions & AllActions &^ r.Effective(actions)
}

// Allows reports whether holding the rule is enough to do at least one of anyOf on the resource.
func (r Rule) Allows(resource Resource, anyOf Actions) bool {
	return r.Resource.Effective(r.Actions)&anyOf != 0 && r.Resource.Covers(resource)
}

// Covers returns what is asked for and not held: for each asked rule the actions that no held rule
// satisfies, in the order asked. Nothing missing means that handing out asked gives away nothing
// beyond held. Different held rules may satisfy different actions of one asked rule. An action is
// asked for even where it is worth nothing (see Resource.Ignored).
func Covers(held, asked []Rule) (missing []Rule) {
	for _, want := range asked {
		left := want.Actions & AllActions
		for _, have := range held {
			if left != 0 && have.Resource.Covers(want.Resource) {
				left &^= have.Resource.Effective(have.Actions)
			}
		}
		if left != 0 {
			missing = append(missing, Rule{Resource: want.Resource, Actions: left})
		}
	}
	return missing
}
