package world

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNew_isTheSameEachTime(t *testing.T) {
	shape := Shape{Grants: 500, Namespaces: 3, Questions: 100}
	a, b := New(shape), New(shape)
	if diff := cmp.Diff(a, b, cmp.AllowUnexported(World{})); diff != "" {
		t.Error(diff)
	}
	if len(a.Grants) != 500 || len(a.ACLs) != 50 || len(a.Jobs) != 100 || len(a.Questions) != 100 {
		t.Errorf("%d grants, %d ACLs, %d jobs, %d questions", len(a.Grants), len(a.ACLs), len(a.Jobs), len(a.Questions))
	}
}

func TestNew_asksQuestionsOfBothAnswers(t *testing.T) {
	for _, grants := range []int{1, 10, 1_000, 10_000} {
		w := New(Shape{Grants: grants, Questions: 1_000})
		yes := 0
		for _, allowed := range w.Answers() {
			if allowed {
				yes++
			}
		}
		if yes < 200 || yes > 900 {
			t.Errorf("%d grants: %d of 1,000 questions are answered yes", grants, yes)
		}
	}
}

func TestAnswers_knowsPathsGroupsActionsAndWindows(t *testing.T) {
	w := &World{
		ACLs: []ACL{{"a", "metronome", "dev.batch"}},
		Grants: []Grant{
			{Name: "g", Subject: Subject{Name: "devs", IsGroup: true}, Action: "update"},
			{Name: "ended", Subject: Subject{Name: "bob"}, Action: "read", ExpiresAt: Noon},
		},
	}
	ask := func(what string, allowed bool, q Question) {
		w.Questions = []Question{q}
		if got := w.Answers()[0]; got != allowed {
			t.Errorf("%s: %v", what, got)
		}
	}
	devs := []string{"x", "devs"}
	ask("the ACL itself", true, Question{"alice", devs, Job{"metronome", "dev.batch"}, "update"})
	ask("below it, what update gives", true, Question{"alice", devs, Job{"metronome", "dev.batch.job1"}, "run"})
	ask("what update does not give", false, Question{"alice", devs, Job{"metronome", "dev.batch.job1"}, "read"})
	ask("a name that begins alike", false, Question{"alice", devs, Job{"metronome", "dev.batchx"}, "update"})
	ask("above it", false, Question{"alice", devs, Job{"metronome", "dev"}, "update"})
	ask("elsewhere", false, Question{"alice", devs, Job{"other", "dev.batch"}, "update"})
	ask("not in the group", false, Question{"devs", nil, Job{"metronome", "dev.batch"}, "update"})
	ask("a window that has ended", false, Question{"bob", nil, Job{"metronome", "dev.batch"}, "read"})
}

func TestGiven_isSatisfyingTurnedAround(t *testing.T) {
	got := map[string][]string{}
	for _, a := range Actions {
		got[a] = Given(a)
	}
	want := map[string][]string{
		"create": {"create"}, "read": {"read"}, "delete": {"delete"}, "run": {"run"}, "update": {"update", "run"}, "full": Actions,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
