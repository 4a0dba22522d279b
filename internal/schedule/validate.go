package schedule

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Validate says what is wrong with the schedules of a Job, disabled ones included: what the API server's
// schema can't tell. It depends on the Job alone.
func Validate(job *v1alpha1.Job) field.ErrorList {
	var errs field.ErrorList
	for i, s := range job.Spec.Schedules {
		path := field.NewPath("spec", "schedules").Index(i)
		if _, err := parseExpression(s.Cron); err != nil {
			errs = append(errs, field.Invalid(path.Child("cron"), s.Cron, err.Error()))
		}
		if _, err := loadZone(s.Timezone); err != nil {
			errs = append(errs, field.Invalid(path.Child("timezone"), s.Timezone, err.Error()))
		}
	}
	return errs
}
