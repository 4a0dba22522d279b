package admission

import (
	"github.com/grantry/grantry/api/v1alpha1"
	rules "github.com/grantry/grantry/internal/admission"
)

func runHooks() reviewer {
	return hooks[v1alpha1.JobRun, *v1alpha1.JobRun]{
		stamp: rules.StampRun,
		check: func(r *rules.Request, old, run *v1alpha1.JobRun) ([]string, error) {
			return nil, rules.CheckRun(r, old, run)
		},
	}
}
