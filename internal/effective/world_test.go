package effective

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// noon is the time of all tests that don't care.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a made-up organization of a given number of grants: ten grants and one ACL per ten of
// them, a user per ten grants, a group per ten users, five groups per user, job ids of three to five
// segments, half of the grants to users and half to groups, one in twenty with a window.
type world struct {
	Input
	queries []Query
}

const groupsPerUser = 5

func newWorld(grants, queries int) *world {
	r := rand.New(rand.NewPCG(uint64(grants), 7))
	w := &world{}
	users, acls := max(1, grants/10), max(1, grants/10)
	groups := max(groupsPerUser, users/10)
	w.ACLs = make([]ACL, acls)
	for i := range w.ACLs {
		w.ACLs[i] = ACL{Name: fmt.Sprintf("acl-%07d", i), Resource: permission.MustParseResource(
			"dcos:service:metronome:" + instance(r, grants) + ":jobs:" + jobPath(r, grants, 1+r.IntN(5)))}
	}
	w.Grants = make([]Grant, grants)
	for i := range w.Grants {
		g := Grant{Name: fmt.Sprintf("grant-%07d", i), ACL: w.ACLs[r.IntN(acls)].Name, Actions: 1 << r.IntN(6)}
		if r.IntN(2) == 0 {
			g.Subjects = []Subject{userAt(r.IntN(users))}
		} else {
			g.Subjects = []Subject{groupAt(r.IntN(groups))}
		}
		if r.IntN(20) == 0 {
			g.ExpiresAt = noon.Add(time.Duration(r.IntN(2000)-1000) * time.Hour)
		}
		w.Grants[i] = g
	}
	w.queries = make([]Query, queries)
	for i := range w.queries {
		q := Query{User: userAt(r.IntN(users)), AnyOf: 1 << r.IntN(6), At: noon}
		for range groupsPerUser {
			q.Groups = append(q.Groups, groupAt(r.IntN(groups)).Name)
		}
		if i%2 == 0 { // something that the user or one of its groups is likely to have a grant for
			g := w.Grants[r.IntN(grants)]
			if who := g.Subjects[0]; who.Kind == KindUser {
				q.User = who
			} else {
				q.Groups[r.IntN(groupsPerUser)] = who.Name
			}
			var index int
			_, _ = fmt.Sscanf(g.ACL, "acl-%d", &index)
			q.Resource = below(r, grants, w.ACLs[index].Resource)
			q.AnyOf = g.Actions
		} else {
			q.Resource = permission.JobResource(instance(r, grants), jobPath(r, grants, 3+r.IntN(3)))
		}
		w.queries[i] = q
	}
	return w
}

func userAt(i int) Subject  { return UserSubject(fmt.Sprintf("user-%06d@example.com", i)) }
func groupAt(i int) Subject { return GroupSubject(fmt.Sprintf("team-%05d", i)) }

func instance(r *rand.Rand, grants int) string {
	return fmt.Sprintf("tenant-%03d", r.IntN(min(200, 1+grants/100)))
}

// jobPath draws from a tree that grows with the number of grants.
func jobPath(r *rand.Rand, grants, depth int) string {
	width := 3
	for width*width*width < grants/10 {
		width++
	}
	segments := make([]string, depth)
	for i := range segments {
		segments[i] = fmt.Sprintf("%s%d", [...]string{"dept", "team", "app", "stage", "job"}[i], r.IntN(width))
	}
	return strings.Join(segments, ".")
}

// below is a job of three to five segments under a jobs id.
func below(r *rand.Rand, grants int, resource permission.Resource) permission.Resource {
	path := strings.TrimPrefix(resource.Canonical(), "dcos:service:metronome:"+resource.Scope()+":jobs:")
	have := strings.Count(path, ".") + 1
	if want := max(have, 3+r.IntN(3)); want > have {
		rest := strings.Split(jobPath(r, grants, want), ".")
		path += "." + strings.Join(rest[have:], ".")
	}
	return permission.JobResource(resource.Scope(), path)
}

// naive is the obvious decision: a map from subject and id to what is granted there, looked up once
// per subject and prefix. It knows jobs only, and groups only as the authenticator reports them.
type naive map[naiveKey][]Grant

type naiveKey struct {
	subject Subject
	id      string
}

func newNaive(in Input) naive {
	ids := make(map[string]string, len(in.ACLs))
	for _, a := range in.ACLs {
		ids[a.Name] = a.Resource.Canonical()
	}
	n := make(naive, len(in.Grants))
	for _, g := range in.Grants {
		for _, who := range g.Subjects {
			k := naiveKey{who, ids[g.ACL]}
			n[k] = append(n[k], g)
		}
	}
	return n
}

// decide takes the id as a string, of which each prefix is a part, so that it need not allocate.
func (n naive) decide(q *Query, id string) bool {
	if n.of(q, q.User, id) {
		return true
	}
	for _, g := range q.Groups {
		if n.of(q, GroupSubject(g), id) {
			return true
		}
	}
	return false
}

func (n naive) of(q *Query, who Subject, id string) bool {
	if n.holds(q, who, "dcos:superuser") {
		return true
	}
	head := strings.Index(id, ":jobs") + len(":jobs")
	for i := head; i < len(id); i++ {
		if (i == head || id[i] == '.') && n.holds(q, who, id[:i]) {
			return true
		}
	}
	return n.holds(q, who, id)
}

func (n naive) holds(q *Query, who Subject, id string) bool {
	for _, g := range n[naiveKey{who, id}] {
		if g.Actions.Satisfies(q.AnyOf) && (g.ExpiresAt.IsZero() || q.At.Before(g.ExpiresAt)) {
			return true
		}
	}
	return false
}
