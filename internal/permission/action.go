package permission

import (
	"fmt"
	"strings"
)

// Actions is a set of actions. Asked for, it is a choice: any one of them will do.
type Actions uint8

// The five actions of DC/OS, and Run, which starts and stops a job without the right to change it.
const (
	Create Actions = 1 << iota
	Read
	Update
	Delete
	Full
	Run
)

// AllActions is every action that there is.
const AllActions = Create | Read | Update | Delete | Full | Run

// actionNames is in the order in which sets are written.
var actionNames = [...]struct {
	action Actions
	name   string
}{
	{Create, "create"}, {Read, "read"}, {Update, "update"}, {Delete, "delete"}, {Run, "run"}, {Full, "full"},
}

// ParseAction returns the action called s. Names are lower case.
func ParseAction(s string) (Actions, error) {
	for _, n := range actionNames {
		if n.name == s {
			return n.action, nil
		}
	}
	return 0, fmt.Errorf("action %q is unknown: use one of create, read, update, delete, run, full", s)
}

// ParseActions returns the set of the named actions.
func ParseActions(names ...string) (Actions, error) {
	var set Actions
	for _, name := range names {
		a, err := ParseAction(name)
		if err != nil {
			return 0, err
		}
		set |= a
	}
	return set, nil
}

// Names lists the actions of the set in a fixed order.
func (a Actions) Names() []string {
	var names []string
	for _, n := range actionNames {
		if a&n.action != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// String is the names joined by commas; the empty set is "none".
func (a Actions) String() string {
	if a&AllActions == 0 {
		return "none"
	}
	return strings.Join(a.Names(), ",")
}

// Implied is the set with everything that it stands for: full stands for every action, update for run.
func (a Actions) Implied() Actions {
	a &= AllActions
	if a&Full != 0 {
		return AllActions
	}
	if a&Update != 0 {
		a |= Run
	}
	return a
}

// Satisfies reports whether a holder of these actions may do at least one of anyOf. Full is satisfied
// by full alone: holding every other action is not the same.
func (a Actions) Satisfies(anyOf Actions) bool {
	return a.Implied()&anyOf != 0
}

// SatisfiedBy is the set of the actions of which each satisfies at least one of a: what somebody who
// is refused may ask for.
func (a Actions) SatisfiedBy() Actions {
	var set Actions
	for _, n := range actionNames {
		if n.action.Satisfies(a) {
			set |= n.action
		}
	}
	return set
}
