// Package schedule decides when a Job runs by itself: at the times of its schedules, or after the Jobs that
// it depends on.
//
// A Cron is a cron expression in a time zone, in Metronome's dialect. Decide turns a Job's schedules and the
// time into a plan: which runs to create and to stop, which times were passed over, when to look again.
// AfterParents does the same for dependencies. Validate and its siblings are the rules that admission and
// the controllers share.
//
// The package is pure: it reads no clock and no cluster. docs/spec/job.md states the semantics for users.
package schedule
