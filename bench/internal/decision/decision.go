// Package decision measures how long engines take to decide, side by side.
package decision

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/grantry/grantry/bench/internal/engine"
	"github.com/grantry/grantry/internal/testing/world"
)

const (
	questions = 2_048
	rounds    = 15
	// budget is the time of one engine in one round, and least the number of questions that it is asked all the same.
	budget = 60 * time.Millisecond
	least  = 4
	// verifyFor is how long one engine's answers are compared before its time is taken, and verifyLeast how many of
	// them are compared all the same.
	verifyFor   = 40 * time.Second
	verifyLeast = 64
)

// Options choose what is measured.
type Options struct {
	Shape world.Shape
	// Log receives progress.
	Log io.Writer
}

// Figure is one engine in one world.
type Figure struct {
	Engine   string
	Verified int           // answers that were compared, all of them right
	Filled   time.Duration // to hold the grants
	Median   time.Duration // of a decision, over the rounds' means
	Low      time.Duration // of the quickest round
	High     time.Duration // of the slowest round
	Ratio    float64       // to Grantry's time: the median of the rounds' ratios
	Skipped  string        // why it was not measured
}

// Measure asks every engine the same questions. First all answers are compared with the right ones; then the engines
// take turns, so that a busy machine disturbs all alike.
func Measure(ctx context.Context, o Options) ([]Figure, error) {
	o.Shape.Questions = questions
	w := world.New(o.Shape)
	answers := w.Answers()
	var figures []Figure
	var racers []*racer
	for _, kind := range engine.Kinds {
		if kind.MaxGrants > 0 && o.Shape.Grants > kind.MaxGrants {
			figures = append(figures, Figure{Engine: kind.Name, Skipped: kind.Why})
			continue
		}
		began := time.Now()
		e, err := kind.New(w)
		if err != nil {
			return nil, fmt.Errorf("fill %s with %d grants: %w", kind.Name, o.Shape.Grants, err)
		}
		defer e.Close()
		filled := time.Since(began)
		verified, err := verify(ctx, e, w, answers)
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(o.Log, "%s: %d grants held in %v, %d answers are right\n", kind.Name, o.Shape.Grants, filled.Round(time.Millisecond), verified)
		racers = append(racers, &racer{Engine: e, figure: len(figures)})
		figures = append(figures, Figure{Engine: kind.Name, Verified: verified, Filled: filled})
	}
	for range rounds {
		for _, r := range racers {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := r.round(); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range racers {
		figures[r.figure].Ratio = r.ratioTo(racers[0])
	}
	for _, r := range racers {
		slices.Sort(r.means)
		f := &figures[r.figure]
		f.Median, f.Low, f.High = r.means[len(r.means)/2], r.means[0], r.means[len(r.means)-1]
	}
	return figures, nil
}

// verify compares answers in the order of the questions, of which every second is about a grant that there is.
func verify(ctx context.Context, e *engine.Engine, w *world.World, answers []bool) (int, error) {
	began := time.Now()
	for i := range w.Questions {
		if i >= verifyLeast && time.Since(began) > verifyFor {
			return i, nil
		}
		if err := ctx.Err(); err != nil {
			return i, err
		}
		if err := e.Verify(w, answers, []int{i}); err != nil {
			return i, err
		}
	}
	return len(w.Questions), nil
}

type racer struct {
	*engine.Engine
	figure int
	next   int // question
	means  []time.Duration
}

// ratioTo compares round by round: what disturbs one round disturbs both.
func (r *racer) ratioTo(first *racer) float64 {
	ratios := make([]float64, len(r.means))
	for i, mean := range r.means {
		ratios[i] = float64(mean) / float64(first.means[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// round goes on with the questions for as long as the budget lasts, and keeps the mean.
func (r *racer) round() error {
	asked := 0
	began := time.Now()
	for {
		for range least {
			if _, err := r.Decide(r.next); err != nil {
				return fmt.Errorf("%s: question %d: %w", r.Name, r.next, err)
			}
			r.next = (r.next + 1) % questions
		}
		asked += least
		if took := time.Since(began); took > budget {
			r.means = append(r.means, took/time.Duration(asked))
			return nil
		}
	}
}
