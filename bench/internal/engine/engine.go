// Package engine asks the same questions of Grantry and of other engines. Each holds the same grants, in the form in
// which somebody who knows it would hold them, and answers from memory in this process.
package engine

import (
	"fmt"

	"github.com/grantry/grantry/internal/testing/world"
)

// Engine is an engine that holds a world's grants.
type Engine struct {
	Name string
	// Decide answers a question by its number. What the engine needs of it, in its own form, is made from the question's
	// strings by Decide: a request comes once.
	Decide func(question int) (bool, error)
	// Close frees what the engine holds.
	Close func()
}

// Kind is an engine that can be made.
type Kind struct {
	Name string
	// Ours is set for Grantry itself.
	Ours bool
	// Tuned is set for a use of an engine beyond what its documentation shows: it is measured, and held to no bar.
	Tuned bool
	// Modelled says how the grants are told to the engine.
	Modelled string
	// MaxGrants is how many grants it can be asked to hold here; 0 is any number. Why says why no more.
	MaxGrants int
	Why       string
	// New fills the engine with a world.
	New func(w *world.World) (*Engine, error)
}

// Grantry is the kind that the others are compared with.
const Grantry = "Grantry"

// Kinds are all engines, Grantry first.
var Kinds = []Kind{
	grantryKind, authorizerKind, rbacKind, rbacBySubjectKind, cedarKind, cedarSlicedKind, opaKind, opaExpandedKind, casbinKind, openFGAKind,
}

// Verify asks the questions whose numbers are given and returns an error if an answer is not the right one.
func (e *Engine) Verify(w *world.World, answers []bool, questions []int) error {
	for _, i := range questions {
		got, err := e.Decide(i)
		if err != nil {
			return fmt.Errorf("%s: question %d: %w", e.Name, i, err)
		}
		if got != answers[i] {
			return fmt.Errorf("%s: question %d: %+v: answered %v", e.Name, i, w.Questions[i], got)
		}
	}
	return nil
}
