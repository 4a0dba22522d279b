package authorizer

import (
	"errors"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// maxClip is how much of what a user wrote is repeated.
const maxClip = maxName

// clip bounds what is repeated of a request.
func clip(s string) string {
	if len(s) > maxClip {
		return s[:maxClip] + "…"
	}
	return s
}

// allow is the decision that allows, by the Grants that answered the questions. It allocates the reason
// and nothing else.
func (c *call) allow() Decision {
	var buf [1024]byte
	text := append(buf[:0], "Allowed by "...)
	for i := range c.asked.n {
		if c.isRepeated(i) {
			continue
		}
		if i > 0 {
			text = append(text, " and "...)
		}
		text = append(text, "Grant "...)
		text = append(text, c.yes[i].Grant...)
		text = append(text, " on ACL "...)
		text = append(text, c.yes[i].ACL...)
	}
	return c.decided(Decision{Verdict: Allow, Reason: string(text)})
}

// isRepeated reports whether an earlier question was answered by the same Grant.
func (c *call) isRepeated(i int) bool {
	for j := range i {
		if c.yes[j].Grant == c.yes[i].Grant {
			return true
		}
	}
	return false
}

// who and where name the user and the namespace of the request.
func (c *call) who() string { return "user " + clip(c.User) }

func (c *call) where() string {
	if c.Namespace == "" {
		return "all namespaces"
	}
	return c.Namespace
}

// missing refuses for the first of the questions that is answered no. They have been decided before.
func (c *call) missing() Decision {
	if c.no < 0 {
		return c.refuse("not allowed") // not reached: who asks has seen a no
	}
	return c.refuse(c.brief(c.asked.items[c.no]))
}

// brief says of what a question asks that the user may not do it.
func (c *call) brief(q question) string {
	if q.resource.Family() == permission.FamilyJobs && q.resource.Scope() == "" {
		return c.who() + ` may not "` + q.anyOf.String() + `" on jobs in all namespaces`
	}
	return effective.Explanation{User: effective.UserSubject(clip(c.User)), Resource: q.resource, AnyOf: q.anyOf}.Brief()
}

// mayName reports whether the user may be told that the request is about a Job: who may read it may know.
func (c *call) mayName(failed question, job string) bool {
	read := question{permission.JobResource(c.Namespace, job), permission.Read}
	return failed != read && c.snapshot.Decide(c.query(read)).Allowed
}

// unknown refuses a request on an object of which the Job can't be found, or may not be named. The two
// are told in the same words.
func (c *call) unknown(what string, err error) Decision {
	object := what + " " + c.Namespace + "/" + c.Name
	if errors.Is(err, ErrNotFound) {
		return c.refuse(c.who() + " lacks a permission on the Job of " + object + ", or there is none")
	}
	d := c.refuse("the Job of " + object + " can't be looked up now")
	d.Err = err
	return d
}
