package delegation_test

import (
	"time"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// noon is the time of all tests that don't care; friday and monday come after it.
var (
	noon   = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	friday = time.Date(2026, 3, 6, 18, 0, 0, 0, time.UTC)
	monday = time.Date(2026, 3, 9, 9, 0, 0, 0, time.UTC)
)

const jobs = "dcos:service:metronome:metronome:jobs:"

func user(name string) effective.Subject  { return effective.UserSubject(name) }
func group(name string) effective.Subject { return effective.GroupSubject(name) }

func acl(name, resource string) effective.ACL {
	return effective.ACL{Name: name, Resource: permission.MustParseResource(resource)}
}

func grant(name, acl string, actions permission.Actions, subjects ...effective.Subject) *effective.Grant {
	return &effective.Grant{Name: name, ACL: acl, Actions: actions, Subjects: subjects}
}

func between(g *effective.Grant, from, until time.Time) *effective.Grant {
	h := *g
	h.NotBefore, h.ExpiresAt = from, until
	return &h
}

func until(g *effective.Grant, end time.Time) *effective.Grant { return between(g, time.Time{}, end) }

// office is where the tables play: mary has full on marketing for good, tom until Friday, root is the
// superuser, eve holds everything on marketing but full.
func office(more ...effective.Change) *effective.Snapshot {
	s, _ := effective.Build(effective.Input{
		ACLs: []effective.ACL{
			acl("super", "dcos:superuser"), acl("marketing", jobs+"marketing"), acl("email", jobs+"marketing.email"),
			acl("marketingx", jobs+"marketingx"), acl("dev", jobs+"dev"),
		},
		Grants: []effective.Grant{
			*grant("root", "super", permission.Read, user("root")),
			*grant("mary", "marketing", permission.Full, user("mary")),
			*until(grant("tom", "marketing", permission.Full, user("tom")), friday),
			*grant("eve", "marketing", permission.AllActions&^permission.Full, user("eve")),
			*grant("team", "email", permission.Read, group("team")),
			*until(grant("team-dev", "dev", permission.Read, group("devs")), friday),
		},
		Groups: []effective.Group{{Name: "team", Members: []effective.Subject{user("zoe")}}},
	})
	return s.Apply(more...)
}

func ask(name string, more ...effective.Change) delegation.Request {
	return delegation.Request{
		Requester: delegation.Requester{User: user(name), At: noon},
		Policy:    office(more...),
	}
}
