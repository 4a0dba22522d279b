package index_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/index"
)

// indexer records what it is given, or fails.
type indexer struct {
	fields map[string]client.IndexerFunc
	err    error
}

func (i *indexer) IndexField(_ context.Context, _ client.Object, field string, values client.IndexerFunc) error {
	if i.err == nil {
		i.fields[field] = values
	}
	return i.err
}

func TestRegister_values(t *testing.T) {
	t.Parallel()
	run := func(succeeded ...metav1.Condition) *v1alpha1.JobRun {
		return &v1alpha1.JobRun{
			Spec:   v1alpha1.JobRunSpec{Job: "dev.batch"},
			Status: v1alpha1.JobRunStatus{Conditions: succeeded},
		}
	}
	ended := run(metav1.Condition{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse})
	running := run(metav1.Condition{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionUnknown})
	dependent := &v1alpha1.Job{Spec: v1alpha1.JobSpec{Dependencies: []v1alpha1.Dependency{{ID: "dev.a"}, {ID: "dev.b"}}}}
	cases := map[string]struct {
		field string
		obj   client.Object
		want  []string
	}{
		"a Grant, by its ACL":                     {field: index.GrantACL, obj: &v1alpha1.Grant{Spec: v1alpha1.GrantSpec{ACL: "dev"}}, want: []string{"dev"}},
		"a Job, by each that it depends on":       {field: index.JobDependency, obj: dependent, want: []string{"dev.a", "dev.b"}},
		"a run, by its Job":                       {field: index.RunJob, obj: ended, want: []string{"dev.batch"}},
		"a new run is unfinished":                 {field: index.RunUnfinished, obj: run(), want: []string{"true"}},
		"a running run is unfinished":             {field: index.RunUnfinished, obj: running, want: []string{"true"}},
		"an ended run is in no index of those":    {field: index.RunUnfinished, obj: ended},
		"an unfinished run, by its Job":           {field: index.RunUnfinishedOfJob, obj: running, want: []string{"dev.batch"}},
		"an ended run is not found so by its Job": {field: index.RunUnfinishedOfJob, obj: ended},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			into := &indexer{fields: map[string]client.IndexerFunc{}}
			if err := index.Register(t.Context(), into); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, into.fields[tc.field](tc.obj)); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegister_failsWithTheIndexer(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if err := index.Register(t.Context(), &indexer{err: broken}); !errors.Is(err, broken) {
		t.Errorf("Register() = %v, want %v", err, broken)
	}
}
