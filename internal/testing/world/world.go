// Package world makes up organizations: who may do what on which jobs. A world of a shape is always the same. It knows
// none of the engines that answer its questions, so that each is told in its own words, and it has an answer of its own
// to compare theirs with.
package world

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Noon is when the questions are asked. Half of the windows have ended by then.
var Noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Actions are what a grant may give, one each: full gives all, and update gives run.
var Actions = []string{"create", "read", "update", "delete", "full", "run"}

// GroupsPerUser is how many groups each user is in.
const GroupsPerUser = 5

// departments is the number of paths of one segment.
const departments = 40

// Shape is the size of a world.
type Shape struct {
	// Grants is their number. There are a tenth as many ACLs and users, a hundredth as many groups, but never fewer
	// groups than a user is in, and a fifth as many jobs.
	Grants int
	// Namespaces is how many the jobs are spread over; 0 is 1.
	Namespaces int
	// Questions is their number.
	Questions int
}

// World is a made-up organization: job paths of one to five segments in ACLs and of three to five in jobs, half of the
// grants to users and half to groups, one in twenty with an end. Every second question is about a grant that there is.
type World struct {
	ACLs      []ACL
	Grants    []Grant
	Groups    []Group
	Jobs      []Job
	Questions []Question

	groupsOf [][]string // of each user
}

// ACL is a path in a namespace; it protects the jobs at and below it.
type ACL struct{ Name, Namespace, Path string }

// Resource is the ACL's resource id.
func (a ACL) Resource() string { return "dcos:service:metronome:" + a.Namespace + ":jobs:" + a.Path }

// Grant gives a subject an action on an ACL.
type Grant struct {
	Name string
	// ACL is the place in World.ACLs.
	ACL     int
	Subject Subject
	Action  string
	// ExpiresAt is zero if the grant has no end.
	ExpiresAt time.Time
}

// IsOpen reports whether the grant counts at Noon.
func (g Grant) IsOpen() bool { return g.ExpiresAt.IsZero() || Noon.Before(g.ExpiresAt) }

// Subject is a user or a group.
type Subject struct {
	Name    string
	IsGroup bool
}

// Group is a group and the users in it.
type Group struct {
	Name    string
	Members []string
}

// Job is a job by its namespace and its dotted path.
type Job struct{ Namespace, Path string }

// Question asks whether a user may do something to a job.
type Question struct {
	User   string
	Groups []string
	Job    Job
	Action string
}

// New makes the world of a shape.
func New(shape Shape) *World {
	b := builder{
		Rand: rand.New(rand.NewPCG(uint64(shape.Grants), 7)), World: &World{}, //nolint:gosec // the same each time
		namespaces: max(1, shape.Namespaces), users: max(1, shape.Grants/10), width: 3,
	}
	for b.width*b.width*b.width < shape.Grants/10 {
		b.width++
	}
	b.addGroups(max(GroupsPerUser, b.users/10))
	for i := range max(1, shape.Grants/10) {
		b.addACL(i)
	}
	for i := range shape.Grants {
		b.addGrant(i)
	}
	for i := range shape.Questions {
		b.addQuestion(i)
	}
	return b.World
}

type builder struct {
	*rand.Rand
	*World
	namespaces, users int
	width             int // of the tree of jobs, at each level but the first
}

func userName(i int) string { return fmt.Sprintf("user-%06d@example.com", i) }

// addGroups also puts the users into them.
func (b *builder) addGroups(groups int) {
	b.Groups = make([]Group, groups)
	for i := range b.Groups {
		b.Groups[i].Name = fmt.Sprintf("team-%05d", i)
	}
	b.groupsOf = make([][]string, b.users)
	for u := range b.groupsOf {
		for _, g := range b.Perm(groups)[:GroupsPerUser] {
			b.Groups[g].Members = append(b.Groups[g].Members, userName(u))
			b.groupsOf[u] = append(b.groupsOf[u], b.Groups[g].Name)
		}
	}
}

// addACL adds an ACL, a job at or below it, and a job anywhere.
func (b *builder) addACL(i int) {
	acl := ACL{fmt.Sprintf("acl-%07d", i), b.namespace(), b.path(1 + b.IntN(5))}
	b.ACLs = append(b.ACLs, acl)
	have := strings.Count(acl.Path, ".") + 1
	below := acl.Path
	if want := 3 + b.IntN(3); want > have {
		rest := strings.Split(b.path(want), ".")
		below += "." + strings.Join(rest[have:], ".")
	}
	b.Jobs = append(b.Jobs, Job{acl.Namespace, below}, Job{b.namespace(), b.path(3 + b.IntN(3))})
}

func (b *builder) addGrant(i int) {
	g := Grant{Name: fmt.Sprintf("grant-%07d", i), ACL: b.IntN(len(b.ACLs)), Action: Actions[b.IntN(len(Actions))]}
	if b.IntN(2) == 0 {
		g.Subject = Subject{Name: userName(b.IntN(b.users))}
	} else {
		g.Subject = Subject{Name: b.Groups[b.IntN(len(b.Groups))].Name, IsGroup: true}
	}
	if b.IntN(20) == 0 {
		g.ExpiresAt = Noon.Add(time.Duration(b.IntN(2000)-1000) * time.Hour)
	}
	b.Grants = append(b.Grants, g)
}

func (b *builder) addQuestion(i int) {
	user, job, action := b.IntN(b.users), b.Jobs[b.IntN(len(b.Jobs))], Actions[b.IntN(len(Actions))]
	if i%2 == 0 {
		g := b.Grants[b.IntN(len(b.Grants))]
		job, action = b.Jobs[2*g.ACL], g.Action
		user = b.userOf(g.Subject, user)
	}
	b.Questions = append(b.Questions, Question{User: userName(user), Groups: b.groupsOf[user], Job: job, Action: action})
}

// userOf is a user that is the subject or in it, or another one if nobody is.
func (b *builder) userOf(who Subject, another int) int {
	name := who.Name
	if who.IsGroup {
		var group int
		_, _ = fmt.Sscanf(who.Name, "team-%d", &group) // we have named it
		members := b.Groups[group].Members
		if len(members) == 0 {
			return another
		}
		name = members[b.IntN(len(members))]
	}
	user := another
	_, _ = fmt.Sscanf(name, "user-%d@", &user)
	return user
}

func (b *builder) namespace() string {
	if b.namespaces == 1 {
		return "metronome"
	}
	return fmt.Sprintf("tenant-%03d", b.IntN(b.namespaces))
}

// path draws from a tree that grows with the number of grants below the departments, of which there are as many in
// every world: else a user of a small world, with as many grants, could do everything.
func (b *builder) path(depth int) string {
	segments := make([]string, depth)
	segments[0] = fmt.Sprintf("dept%d", b.IntN(departments))
	for i := range segments[1:] {
		segments[i+1] = fmt.Sprintf("%s%d", [...]string{"team", "app", "stage", "job"}[i], b.IntN(b.width))
	}
	return strings.Join(segments, ".")
}
