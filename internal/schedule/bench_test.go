package schedule

import (
	"testing"

	"github.com/grantry/grantry/api/v1alpha1"
)

func BenchmarkNext(b *testing.B) {
	for _, expression := range []string{"* * * * *", "30 2 * * *", "0 9 1-7 * 1", "0 0 29 2 1"} {
		b.Run(expression, func(b *testing.B) {
			parsed, err := Parse(expression, "Europe/Berlin")
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				parsed.Next(noon)
			}
		})
	}
}

// What a look at a Job costs in which nothing is due.
func BenchmarkDecide(b *testing.B) {
	job := plannedJob(edited(func(s *v1alpha1.Schedule) { s.Timezone = "Europe/Berlin" }))
	job.Status.Schedules = Decide(Input{Job: job, Now: noon}).Status
	b.ReportAllocs()
	for b.Loop() {
		Decide(Input{Job: job, Now: noon})
	}
}
