package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConcurrencyPolicy says what a schedule does when a run of the Job is still active.
// +kubebuilder:validation:Enum=ALLOW;FORBID;REPLACE;Allow;Forbid;Replace
type ConcurrencyPolicy string

// Concurrency policies. Metronome's spelling in capitals means the same.
const (
	// ConcurrencyAllow starts another run.
	ConcurrencyAllow ConcurrencyPolicy = "Allow"
	// ConcurrencyForbid passes the time over.
	ConcurrencyForbid ConcurrencyPolicy = "Forbid"
	// ConcurrencyReplace stops the active runs and starts one.
	ConcurrencyReplace ConcurrencyPolicy = "Replace"
)

// Schedule is a series of times at which a Job runs.
type Schedule struct {
	// id names the schedule within the Job.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+(-+[a-z0-9]+)*$`
	ID string `json:"id"`

	// cron is minute, hour, day, month, weekday and an optional year. A day must match both
	// the day of month and the day of week, as in Metronome and unlike in a CronJob.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4,5}$')",message="cron is minute, hour, day, month, weekday and an optional year, separated by spaces: 0 9 1-7 * MON"
	Cron string `json:"cron"`

	// timezone is an IANA time zone. Unset is UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local'",message="timezone is the name of an IANA time zone: Europe/Berlin"
	Timezone string `json:"timezone,omitempty"`

	// startingDeadlineSeconds is how long after its time a run may be launched. Unset is 900.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=31536000
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// concurrencyPolicy says what to do when a run of the Job is not finished, whatever brought it about:
	// Allow another, Forbid it (the time is passed over), or Replace the unfinished ones, which are deleted.
	// Unset is Allow.
	// +optional
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`

	// enabled is false for a schedule that is kept and does not fire. Unset is true.
	// +optional
	Enabled *bool `json:"enabled,omitempty"` //nolint:kubeapilinter // Metronome's field
}

// ScheduleStatus is what became of a schedule.
type ScheduleStatus struct {
	// id of the schedule.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ID string `json:"id"`

	// cron and timezone are those that the times below are of; unset while the schedule is disabled or
	// invalid. Where they differ from the schedule's, its times count from when Grantry sees it.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Cron string `json:"cron,omitempty"`

	// timezone is that of cron.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Timezone string `json:"timezone,omitempty"`

	// handledUntil is the time up to which everything is dealt with: no run is created any more for a time
	// until then.
	// +optional
	HandledUntil *metav1.Time `json:"handledUntil,omitempty"`

	// lastScheduledAt is the latest time for which a run was created.
	// +optional
	LastScheduledAt *metav1.Time `json:"lastScheduledAt,omitempty"`

	// nextRunAt is when the schedule runs the Job next. Unset while the Job is suspended or the schedule is
	// disabled, and if no time is left.
	// +optional
	NextRunAt *metav1.Time `json:"nextRunAt,omitempty"`

	// lastSkipped is the latest time that was passed over, and why.
	// +optional
	LastSkipped *SkippedTime `json:"lastSkipped,omitempty"`
}

// SkipReason says why a time was passed over.
// +kubebuilder:validation:Enum=RunActive;RunWaiting;Missed;DeadlineExceeded
type SkipReason string

const (
	// SkipRunActive says that the concurrency policy is Forbid, and a run was not finished.
	SkipRunActive SkipReason = "RunActive"
	// SkipRunWaiting says that the owner's grants allowed no launch, and a run of the schedule waited for one already.
	SkipRunWaiting SkipReason = "RunWaiting"
	// SkipMissed says that nobody was there at that time, and a later time was made up for.
	SkipMissed SkipReason = "Missed"
	// SkipDeadlineExceeded says that nobody was there within the starting deadline.
	SkipDeadlineExceeded SkipReason = "DeadlineExceeded"
)

// SkippedTime is a time of a schedule for which no run was created.
type SkippedTime struct {
	// at is the time.
	// +required
	At metav1.Time `json:"at"`

	// reason is RunActive, RunWaiting, Missed or DeadlineExceeded.
	// +required
	Reason SkipReason `json:"reason"`
}
