package admission

import (
	"github.com/grantry/grantry/api/v1alpha1"
	rules "github.com/grantry/grantry/internal/admission"
)

func jobHooks() reviewer {
	return hooks[v1alpha1.Job, *v1alpha1.Job]{
		stamp: rules.StampJob,
		check: func(r *rules.Request, old, job *v1alpha1.Job) ([]string, error) {
			return nil, rules.CheckJob(r, old, job)
		},
	}
}
