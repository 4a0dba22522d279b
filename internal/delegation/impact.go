package delegation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Revocation is what becomes of a Job's running work when its owner may not launch it any more.
type Revocation uint8

// The revocations.
const (
	Finish Revocation = iota
	Suspend
	Delete
)

// Job is what an impact takes of a Job.
type Job struct {
	Resource    permission.Resource
	Owner       effective.Subject // zero if it has none
	OwnerGroups []string
	Running     bool
	OnRevoke    Revocation
}

// Impact is what a change of policy does to Jobs.
type Impact struct {
	// Lost and Gained say how many subjects lose and gain which actions on how many of the Jobs.
	Lost, Gained []Share
	// Stopped are Jobs whose owner may not launch them any more. Suspended and Deleted are those of them that
	// are running, and won't be.
	Stopped, Suspended, Deleted int
	// AtLeast says that there was too much to look at all of it.
	AtLeast bool
}

// Share is a number of subjects for whom the same actions change on the same number of Jobs.
type Share struct {
	Actions        permission.Actions
	Subjects, Jobs int
}

// launch is what an owner needs one of, as at a launch.
const launch = permission.Run | permission.Create

// maxPairs bounds how many pairs of a subject and a Job are looked at, each of which takes some microseconds:
// the API server waits for the answer.
const maxPairs = 20_000

// ImpactOf compares two policies for the Jobs that are listed, at a time. It looks at those whom the change
// gives or takes a Grant, members of Groups included, and counts for whom that makes a difference: who holds the
// same by another Grant loses nothing.
func ImpactOf(before, after *effective.Snapshot, at time.Time, jobs []Job) Impact {
	changed := effective.ImpactOf(before, after, at)
	var impact Impact
	lost, gained := map[Share]int{}, map[Share]int{}
	pairs := 0
	for _, who := range touched(changed) {
		mine := map[permission.Actions]int{} // by action: of Jobs that are lost
		yours := map[permission.Actions]int{}
		for i := range jobs {
			if pairs++; pairs > maxPairs {
				impact.AtLeast = true
				break
			}
			had, has := heldOn(before, who, at, jobs[i].Resource), heldOn(after, who, at, jobs[i].Resource)
			count(mine, had&^has)
			count(yours, has&^had)
		}
		share(lost, mine)
		share(gained, yours)
	}
	impact.Lost, impact.Gained = collect(lost), collect(gained)
	impact.countStopped(before, after, at, jobs)
	return impact
}

// touched are those for whom a Grant comes or goes.
func touched(i effective.Impact) []effective.Subject {
	seen := map[effective.Subject]struct{}{}
	var list []effective.Subject
	for _, h := range slices.Concat(i.Lost, i.Gained) {
		if _, ok := seen[h.Subject]; !ok {
			seen[h.Subject] = struct{}{}
			list = append(list, h.Subject)
		}
	}
	return list
}

func heldOn(s *effective.Snapshot, who effective.Subject, at time.Time, on permission.Resource) permission.Actions {
	w := now(at)
	missing := s.Covers(who, nil, at, []effective.Claim{{
		Rule: permission.Rule{Resource: on, Actions: permission.AllActions}, NotBefore: w.from, ExpiresAt: w.until,
	}})
	if len(missing) == 0 {
		return permission.AllActions
	}
	return permission.AllActions &^ missing[0].Actions
}

// count adds one Job to each action.
func count(jobs map[permission.Actions]int, actions permission.Actions) {
	for action := permission.Create; action <= permission.Run; action <<= 1 {
		if actions&action != 0 {
			jobs[action]++
		}
	}
}

// share adds one subject: the actions that change on equally many Jobs go together.
func share(shares map[Share]int, jobs map[permission.Actions]int) {
	together := map[int]permission.Actions{}
	for action, n := range jobs {
		together[n] |= action
	}
	for n, actions := range together {
		shares[Share{Actions: actions, Jobs: n}]++
	}
}

func collect(shares map[Share]int) []Share {
	list := make([]Share, 0, len(shares))
	for s, subjects := range shares {
		s.Subjects = subjects
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Subjects, a.Subjects), cmp.Compare(b.Jobs, a.Jobs), cmp.Compare(a.Actions, b.Actions))
	})
	return list
}

func (i *Impact) countStopped(before, after *effective.Snapshot, at time.Time, jobs []Job) {
	for _, job := range jobs {
		q := effective.Query{User: job.Owner, Groups: job.OwnerGroups, Resource: job.Resource, AnyOf: launch, At: at}
		if !before.Decide(q).Allowed || after.Decide(q).Allowed {
			continue
		}
		i.Stopped++
		switch {
		case job.Running && job.OnRevoke == Suspend:
			i.Suspended++
		case job.Running && job.OnRevoke == Delete:
			i.Deleted++
		}
	}
}

// maxShares is how many shares are told of; the rest differ in details.
const maxShares = 3

// Sentences are what the impact is, in words: none if there is none. They hold numbers and no names.
func (i Impact) Sentences() []string {
	var list []string
	least := ""
	if i.AtLeast {
		least = "at least "
	}
	for _, part := range []struct {
		one, many string
		shares    []Share
	}{{"loses", "lose", i.Lost}, {"gains", "gain", i.Gained}} {
		for at, s := range part.shares {
			if at == maxShares {
				list = append(list, fmt.Sprintf("others %s other actions, or on other numbers of jobs", part.many))
				break
			}
			verb := part.many
			if s.Subjects == 1 {
				verb = part.one
			}
			list = append(list, fmt.Sprintf("%s%s %s %s on %s", least, things(s.Subjects, "subject"), verb, told(s.Actions), things(s.Jobs, "job")))
		}
	}
	if i.Stopped > 0 {
		list = append(list, things(i.Stopped, "job")+" could not be launched any more")
	}
	if i.Suspended > 0 {
		list = append(list, things(i.Suspended, "running job")+" would be suspended")
	}
	if i.Deleted > 0 {
		list = append(list, things(i.Deleted, "running job")+" would be ended and deleted")
	}
	return list
}

// told leaves out what goes without saying: full is every action, and run comes with update.
func told(a permission.Actions) string {
	switch {
	case a&permission.Full != 0:
		a = permission.Full
	case a&permission.Update != 0:
		a &^= permission.Run
	}
	return strings.Join(a.Names(), ", ")
}

func things(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// GivesNothingNew reports whether other Grants already give all that a Grant does, for as long as it does. The
// policy may hold the Grant itself.
func GivesNothingNew(policy *effective.Snapshot, g effective.Grant, at time.Time) bool {
	resource := policy.ACLStats(g.ACL).Resource
	if resource.IsZero() || len(g.Subjects) == 0 || g.Actions == 0 {
		return false
	}
	others := policy.Apply(effective.DeleteGrant(g.Name))
	w := windowOf(&g).rest(at)
	claim := []effective.Claim{{Rule: permission.Rule{Resource: resource, Actions: resource.Effective(g.Actions)}, NotBefore: w.from, ExpiresAt: w.until}}
	for _, who := range g.Subjects {
		if len(others.Covers(who, nil, at, claim)) > 0 {
			return false
		}
	}
	return true
}
