// Package ledger judges what happened while things were broken: from what the API server wrote down, what was answered
// to whom, and when who had a permission. It knows nothing of how Grantry decides.
package ledger

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// UnderWay is how long a launch may be under way between the live read of the Grant that allows it and the moment when
// the API server gets the child. Nobody can take a permission back in between. It is milliseconds, but for a machine
// that stands still.
const UnderWay = 20 * time.Second

// Record is what happened.
type Record struct {
	// Runs are all that were ever created, but for those that may still be at work.
	Runs []Run
	// Children are all that were ever created.
	Children []Child
	Requests []Request
	// Schedules are to have a run in each minute.
	Schedules []Schedule
	// Absences are, by user, when the user had no permission. They don't overlap.
	Absences map[string][]Absence
	// Outages are when something was broken: then a scheduled time may be missed.
	Outages []Outage
}

// Run is a JobRun.
type Run struct {
	UID, Name string
	// Owner is who owns its Job.
	Owner string
	// Asked is when the API server got the request that created it.
	Asked time.Time
	// Schedule and At say for which time a schedule created it. Schedule is empty if a user did.
	Schedule string
	At       time.Time
	// Gone says that it is not there any more. Nobody has deleted one.
	Gone bool
	// Succeeded says that it has ended, and well, as each is to that may be launched. State is how it stands.
	Succeeded bool
	State     string
	// TooLate says that it missed its starting deadline, and so was not launched.
	TooLate bool
}

// Child is a batch/v1 Job.
type Child struct {
	UID string
	// Run is the UID of the run whose it is.
	Run string
	// Asked is when the API server got the request that created it, and Answered when that was answered.
	Asked, Answered time.Time
}

// Outcome is how a request ended.
type Outcome string

// The outcomes of a request.
const (
	Allowed Outcome = "allowed"
	Refused Outcome = "refused"
	Failed  Outcome = "failed" // somebody who should have been asked was away
)

// Request is what a user asked of the API server.
type Request struct {
	User, What   string
	Began, Ended time.Time
	Outcome      Outcome
	// Creates is the name of the run that it creates, if any.
	Creates string
}

// Schedule is to have a run in each minute from First to Last.
type Schedule struct {
	Name        string
	First, Last time.Time
}

// Absence is a time without a permission: from when its deletion had returned until just before it was asked for again.
// The zero From is always, and the zero Until is for good.
type Absence struct {
	From, Until time.Time
	// Window is how long a request may be allowed after From all the same, because a replica has not heard of it.
	Window time.Duration
}

// during reports whether a time span lies within the absence and begins so long after its begin.
func (a Absence) during(began, ended time.Time, after time.Duration) bool {
	return !began.Before(a.From.Add(after)) && (a.Until.IsZero() || ended.Before(a.Until))
}

// Outage is a time in which something was broken.
type Outage struct {
	From, Until time.Time
	// WrongClock says that it was the clock by which starting deadlines are judged.
	WrongClock bool
}

// Rule is what must not happen.
type Rule string

// The rules.
const (
	Lost         Rule = "lost"         // a run is gone, has not ended well, or was not created at its time or as was answered
	Twice        Rule = "twice"        // a run has had two children, or a scheduled time two runs
	Unauthorized Rule = "unauthorized" // a run was launched without permission
	WronglyAllow Rule = "allowed"      // a request was allowed without permission
)

// Violation is a rule that was broken, and by what.
type Violation struct {
	Rule Rule
	What string
}

// String is the rule and what broke it.
func (v Violation) String() string { return string(v.Rule) + ": " + v.What }

// Check returns what must not have happened and did.
func Check(r *Record) []Violation {
	children := map[string]map[string]Child{}
	for _, c := range r.Children {
		if children[c.Run] == nil {
			children[c.Run] = map[string]Child{}
		}
		children[c.Run][c.UID] = c
	}
	var found []Violation
	for _, run := range r.Runs {
		found = append(found, checkRun(r, run, children[run.UID])...)
	}
	found = append(found, checkSchedules(r)...)
	names := map[string]bool{}
	for _, run := range r.Runs {
		names[run.Name] = true
	}
	for _, q := range r.Requests {
		found = append(found, checkRequest(r, q)...)
		if q.Creates != "" && q.Outcome == Allowed && !names[q.Creates] {
			found = append(found, Violation{Lost, "run " + q.Creates + " was created, and there is no word of it"})
		}
	}
	return found
}

// checkRun: a run that may be launched was so once, and has ended well; one that may not was not.
func checkRun(r *Record, run Run, children map[string]Child) []Violation {
	var found []Violation
	tell := func(rule Rule, format string, args ...any) {
		found = append(found, Violation{rule, "run " + run.Name + " of " + run.Owner + " " + fmt.Sprintf(format, args...)})
	}
	absences := r.Absences[run.Owner]
	mayNever := slices.ContainsFunc(absences, func(a Absence) bool { return a.Until.IsZero() })
	switch {
	case run.Gone:
		tell(Lost, "is gone")
	case mayNever:
	case run.TooLate && len(children) == 0 && r.clockWasWrong(run.Asked):
	case len(children) == 0:
		tell(Lost, "was never launched: it is %s", run.State)
	case !run.Succeeded:
		tell(Lost, "has not ended well: it is %s", run.State)
	}
	if len(children) > 1 {
		tell(Twice, "has had %d children", len(children))
	}
	for _, child := range children {
		for _, a := range absences {
			switch {
			case a.during(run.Asked, child.Answered, 0): // nothing can have been read for it before the absence
				tell(Unauthorized, "was created %s into an absence and launched %s later", run.Asked.Sub(a.From), child.Asked.Sub(run.Asked))
			case a.during(child.Asked, child.Answered, UnderWay):
				tell(Unauthorized, "was launched %s into an absence", child.Asked.Sub(a.From))
			}
		}
	}
	return found
}

// clockWasWrong reports whether a run that was asked for at a moment may have waited while the clock was wrong.
func (r *Record) clockWasWrong(asked time.Time) bool {
	return slices.ContainsFunc(r.Outages, func(o Outage) bool {
		return o.WrongClock && asked.After(o.From.Add(-time.Minute)) && asked.Before(o.Until)
	})
}

// checkSchedules: a time has one run, or none if something was broken before the next one.
func checkSchedules(r *Record) []Violation {
	var found []Violation
	runs := map[string]map[int64]int{}
	for _, run := range r.Runs {
		if run.Schedule == "" {
			continue
		}
		if runs[run.Schedule] == nil {
			runs[run.Schedule] = map[int64]int{}
		}
		runs[run.Schedule][run.At.Unix()]++
	}
	for _, s := range r.Schedules {
		for _, at := range slices.Sorted(maps.Keys(runs[s.Name])) {
			if n := runs[s.Name][at]; n > 1 {
				found = append(found, Violation{Twice, fmt.Sprintf("schedule %s has had %d runs for %s", s.Name, n, time.Unix(at, 0).UTC().Format(time.TimeOnly))})
			}
		}
		for at := s.First; !at.After(s.Last); at = at.Add(time.Minute) {
			next := at.Add(time.Minute)
			excused := slices.ContainsFunc(r.Outages, func(o Outage) bool { return o.From.Before(next) && o.Until.After(at) })
			if runs[s.Name][at.Unix()] == 0 && !excused {
				found = append(found, Violation{Lost, fmt.Sprintf("schedule %s has had no run for %s", s.Name, at.UTC().Format(time.TimeOnly))})
			}
		}
	}
	return found
}

// checkRequest: what is allowed in an absence began before every replica had to know of it.
func checkRequest(r *Record, q Request) []Violation {
	var found []Violation
	for _, a := range r.Absences[q.User] {
		if q.Outcome == Allowed && a.during(q.Began, q.Ended, a.Window) {
			found = append(found, Violation{WronglyAllow, fmt.Sprintf("%s may %s, %s into an absence", q.User, q.What, q.Began.Sub(a.From))})
		}
	}
	return found
}
