package admission

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestPatchOf: the patch turns what was sent into what was stamped, field by field.
func TestPatchOf(t *testing.T) {
	t.Parallel()
	labelled := func(labels map[string]string, job *v1alpha1.Job) *v1alpha1.Job {
		job.Labels = labels
		return job
	}
	for name, tc := range map[string]struct {
		before, after *v1alpha1.Job
		want          string
	}{
		"nothing":               {labelled(map[string]string{"a": "b"}, newJob("x")), labelled(map[string]string{"a": "b"}, newJob("x")), "null"},
		"set":                   {newJob("x"), ownedBy("alice", newJob("x")), `[{"op":"add","path":"/spec/owner","value":{"kind":"User","name":"alice"}}]`},
		"replaced":              {ownedBy("bob", newJob("x")), ownedBy("alice", newJob("x")), `[{"op":"add","path":"/spec/owner","value":{"kind":"User","name":"alice"}}]`},
		"removed":               {labelled(map[string]string{"a": "b"}, newJob("x")), newJob("x"), `[{"op":"remove","path":"/metadata/labels"}]`},
		"emptied":               {labelled(map[string]string{"a/b": "c"}, newJob("x")), labelled(map[string]string{}, newJob("x")), `[{"op":"add","path":"/metadata/labels","value":{}}]`},
		"taken away":            {ownedBy("bob", newJob("x")), newJob("x"), `[{"op":"remove","path":"/spec/owner"}]`},
		"any field of the spec": {newJob("x"), newJob("y", "z"), `[{"op":"add","path":"/spec/dependencies","value":[{"id":"z"}]}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patch, err := patchOf(tc.before, tc.after)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(patch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
