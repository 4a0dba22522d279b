package admission

import (
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Answer is a permission that was asked for, and the Grant that gives it, if one does.
type Answer struct {
	Resource permission.Resource
	AnyOf    permission.Actions
	By       effective.Verdict
}

// Basis is what a decision rests on, for those who want to know. A nil *Basis keeps nothing.
type Basis struct {
	answers []Answer
	verbs   []Question
}

// Answered adds a permission that decides.
func (b *Basis) Answered(a Answer) {
	if b != nil {
		b.answers = append(b.answers, a)
	}
}

// HasVerb adds a question that the API server says yes to.
func (b *Basis) HasVerb(q Question) {
	if b != nil {
		b.verbs = append(b.verbs, q)
	}
}

// Answers are the permissions, in the order in which they were asked for.
func (b *Basis) Answers() []Answer {
	if b == nil {
		return nil
	}
	return b.answers
}

// Verbs are what the API server said yes to.
func (b *Basis) Verbs() []Question {
	if b == nil {
		return nil
	}
	return b.verbs
}
