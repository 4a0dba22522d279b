package engine

import (
	"slices"
	"testing"

	"github.com/grantry/grantry/internal/testing/world"
)

// TestEngines_answerAlike is what makes their times comparable.
func TestEngines_answerAlike(t *testing.T) {
	for _, shape := range []world.Shape{{Grants: 1_000, Questions: 2_000}, {Grants: 1_000, Namespaces: 20, Questions: 500}} {
		w := world.New(shape)
		answers := w.Answers()
		all := make([]int, len(w.Questions))
		for i := range all {
			all[i] = i
		}
		if !slices.Contains(answers, true) || !slices.Contains(answers, false) {
			t.Fatal("all questions have the same answer")
		}
		for _, kind := range Kinds {
			t.Run(kind.Name, func(t *testing.T) {
				e, err := kind.New(w)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				if err := e.Verify(w, answers, all); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestVerify_seesAWrongAnswer shows that the comparison can fail.
func TestVerify_seesAWrongAnswer(t *testing.T) {
	w := world.New(world.Shape{Grants: 100, Questions: 10})
	answers := w.Answers()
	e := &Engine{Name: "wrong", Decide: func(i int) (bool, error) { return answers[i] != (i == 7), nil }}
	if err := e.Verify(w, answers, []int{0, 1, 7}); err == nil {
		t.Error("a wrong answer was not seen")
	}
	if err := e.Verify(w, answers, []int{0, 1, 2}); err != nil {
		t.Error(err)
	}
}
