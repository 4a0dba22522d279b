// Package decision measures how long engines take to decide, side by side.
package decision

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grantry/grantry/bench/internal/engine"
	"github.com/grantry/grantry/internal/testing/world"
)

const (
	questions = 2_048
	rounds    = 31
	// budget is the time of one engine in one round, and least the number of questions that it is asked all the same.
	budget = 40 * time.Millisecond
	least  = 4
	// verifyFor is how long one engine's answers are compared before its time is taken, and verifyLeast how many of
	// them are compared all the same.
	verifyFor   = 20 * time.Second
	verifyLeast = 64
)

// Options choose what is measured.
type Options struct {
	Shape world.Shape
	// Log receives progress.
	Log io.Writer
}

// Figure is one engine in one world. Times are of the processor, for one decision.
type Figure struct {
	Engine   string
	Verified int           // answers that were compared, all of them right
	Filled   time.Duration // to hold the grants
	Median   time.Duration // of the rounds' means
	Low      time.Duration // of the quickest round
	High     time.Duration // of the slowest round
	Ratio    float64       // to Grantry's time: the median of the rounds' ratios
	Skipped  string        // why it was not measured
}

// Measure asks every engine the same questions. First all answers are compared with the right ones; then the engine and
// Grantry take turns, so that a busy machine disturbs both alike, and are alone in the process, so that neither pays for what
// others hold.
func Measure(ctx context.Context, o Options) ([]Figure, error) {
	o.Shape.Questions = questions
	w := world.New(o.Shape)
	answers := w.Answers()
	var figures []Figure
	for _, kind := range engine.Kinds {
		if kind.MaxGrants > 0 && o.Shape.Grants > kind.MaxGrants {
			figures = append(figures, Figure{Engine: kind.Name, Skipped: kind.Why})
			continue
		}
		f, err := measure(ctx, w, answers, kind)
		if err != nil {
			return nil, fmt.Errorf("%s with %d grants: %w", kind.Name, o.Shape.Grants, err)
		}
		_, _ = fmt.Fprintf(o.Log, "%s: %d grants held in %v, %d answers are right; %v for each, %.0f times Grantry's\n",
			kind.Name, o.Shape.Grants, f.Filled.Round(time.Millisecond), f.Verified, f.Median, f.Ratio)
		figures = append(figures, f)
	}
	return figures, nil
}

// measure lets an engine and Grantry take turns.
func measure(ctx context.Context, w *world.World, answers []bool, kind engine.Kind) (Figure, error) {
	ours, err := engine.Kinds[0].New(w)
	if err != nil {
		return Figure{}, err
	}
	defer ours.Close()
	began := time.Now()
	theirs, err := kind.New(w)
	if err != nil {
		return Figure{}, err
	}
	defer theirs.Close()
	f := Figure{Engine: kind.Name, Filled: time.Since(began)}
	for _, e := range []*engine.Engine{ours, theirs} {
		if f.Verified, err = verify(ctx, e, w, answers); err != nil {
			return f, err
		}
	}
	us, them := racer{Engine: ours}, racer{Engine: theirs}
	for range rounds {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		for _, r := range []*racer{&us, &them} {
			if err := r.round(); err != nil {
				return f, err
			}
		}
	}
	f.Ratio = them.ratioTo(&us)
	slices.Sort(them.means)
	f.Median, f.Low, f.High = them.means[rounds/2], them.means[0], them.means[rounds-1]
	return f, nil
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
	next  int // question
	means []time.Duration
}

// ratioTo compares round by round: what disturbs one round disturbs both.
func (r *racer) ratioTo(other *racer) float64 {
	ratios := make([]float64, len(r.means))
	for i, mean := range r.means {
		ratios[i] = float64(mean) / float64(other.means[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// round goes on with the questions for as long as the budget lasts, and keeps the mean. It begins with no garbage of others, and
// the first questions, which bring what is held into the processor's caches, do not count.
func (r *racer) round() error {
	runtime.GC()
	if err := r.ask(least); err != nil {
		return err
	}
	asked, batch := 0, least
	began, err := processorTime()
	for err == nil {
		if err = r.ask(batch); err != nil {
			break
		}
		asked += batch
		now, failed := processorTime()
		switch used := now - began; {
		case failed != nil:
			return failed
		case used > budget:
			r.means = append(r.means, used/time.Duration(asked))
			return nil
		case used < budget/8:
			batch *= 2 // to read the clock takes as long as a quick decision
		}
	}
	return err
}

func (r *racer) ask(n int) error {
	for range n {
		if _, err := r.Decide(r.next); err != nil {
			return fmt.Errorf("%s: question %d: %w", r.Name, r.next, err)
		}
		r.next = (r.next + 1) % questions
	}
	return nil
}

// processorTime is what this process has used so far, the collector included: other processes hardly change it.
func processorTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}
