package effective

import (
	"slices"
	"testing"
	"time"
)

// TestDecide_isTwiceAsFastAsTheNaiveReference compares the two in turns, on the same questions, and
// takes the median of the best rounds, so that a busy machine disturbs both alike.
func TestDecide_isTwiceAsFastAsTheNaiveReference(t *testing.T) {
	for _, size := range sizes {
		if size > 100_000 && testing.Short() {
			continue
		}
		w := newWorld(size, 2048)
		s, _ := Build(w.Input)
		ref := newNaive(w.Input)
		ids := make([]string, len(w.queries))
		for i := range ids {
			ids[i] = w.queries[i].Resource.Canonical()
		}
		allowed := 0
		var ours, theirs []time.Duration
		for range 31 {
			began := time.Now()
			for i := range w.queries {
				if s.Decide(w.queries[i]).Allowed {
					allowed++
				}
			}
			ours = append(ours, time.Since(began))
			began = time.Now()
			for i := range w.queries {
				if ref.decide(&w.queries[i], ids[i]) {
					allowed--
				}
			}
			theirs = append(theirs, time.Since(began))
		}
		if allowed != 0 {
			t.Errorf("%d grants: the two do not agree", size)
		}
		us, them := typical(ours, len(ids)), typical(theirs, len(ids))
		ratio := float64(us) / float64(them)
		t.Logf("%8d grants: %v, naive %v, ratio %.2f", size, us, them, ratio)
		if ratio > 0.5 {
			t.Errorf("%d grants: a decision takes %.2f of the naive reference, want at most 0.5", size, ratio)
		}
	}
}

// typical is the median of the faster half of the rounds, per question.
func typical(rounds []time.Duration, questions int) time.Duration {
	slices.Sort(rounds)
	return rounds[len(rounds)/4] / time.Duration(questions)
}
