package authorizer

import (
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Basis is what a decision rests on, for a log of decisions.
type Basis struct {
	// Answers are to the questions that were asked last, in their order, up to the first no.
	Answers []Answer
}

// Answer is what the snapshot says to one question.
type Answer struct {
	Resource permission.Resource
	AnyOf    permission.Actions
	// Verdict names the Grant and the ACL if it allows.
	Verdict effective.Verdict
}

// Refused reports whether something was asked for that is not held, or that could not be decided. What
// Grantry has nothing to say about is neither refused nor allowed.
func (d Decision) Refused() bool {
	return d.Verdict != Allow && (d.Reason != "" || d.Family != 0)
}

// decided completes a decision by what it rests on.
func (c *call) decided(d Decision) Decision {
	d.Kind = c.kind
	for i := range c.asked.n {
		if !c.yes[i].Allowed {
			d.Family = c.asked.items[i].resource.Family()
			break
		}
	}
	if d.Verdict == Allow && c.asked.n > 0 {
		d.Family = c.asked.items[0].resource.Family()
		if c.yes[0].Superuser {
			d.Family = permission.FamilySuperuser
		}
	}
	if c.Basis != nil {
		c.Basis.Answers = c.answers()
	}
	return d
}

func (c *call) answers() []Answer {
	answers := make([]Answer, 0, c.asked.n)
	for i := range c.asked.n {
		answers = append(answers, Answer{Resource: c.asked.items[i].resource, AnyOf: c.asked.items[i].anyOf, Verdict: c.yes[i]})
		if !c.yes[i].Allowed {
			break
		}
	}
	return answers
}
