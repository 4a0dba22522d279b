package admission

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// unreadable are objects that have the CRD's types and don't fit Go's. One that is stored fails every list of its
// kind: the operator sees none of that kind any more.
var unreadable = map[string]struct{ object, refusal string }{
	"a number that doesn't fit, which the API server finds from 1.36 on": {`
kind: Job
metadata: {name: large-parallelism, namespace: metronome}
spec: {template: {spec: {parallelism: 3000000000, template: {spec: {containers: [{name: a, image: a}]}}}}}`, "int32"},
	"a port that doesn't fit": {`
kind: Job
metadata: {name: large-port, namespace: metronome}
spec: {template: {spec: {template: {spec: {containers: [{name: a, image: a, livenessProbe: {httpGet: {port: 3000000000}}}]}}}}}`, "int32"},
	"a time in small letters": {`
kind: Grant
metadata: {name: small-time}
spec: {acl: dev, subjects: [{kind: User, name: alice}], actions: [run], expiresAt: "2036-01-01t00:00:00z"}`, "parsing time"},
}

// refuseUnreadable tries them as a member of system:masters, whom no authorizer refuses.
func refuseUnreadable(t *testing.T, w *world) {
	t.Helper()
	for name, tc := range unreadable {
		object := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal([]byte("apiVersion: grantry.dev/v1alpha1"+tc.object), object); err != nil {
			t.Fatal(err)
		}
		if err := w.admin.Create(t.Context(), object); err == nil || !strings.Contains(err.Error(), tc.refusal) {
			t.Errorf("%s: %v, want a refusal that says %q", name, err, tc.refusal)
		}
	}
}

// refuseLong tries names of a megabyte, which admission sees before the schema and the checks of names do.
func refuseLong(t *testing.T, w *world) {
	t.Helper()
	long := strings.Repeat("a.", 1<<19)
	owned := newJob("dev.long")
	owned.Spec.Owner = &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: long}
	for name, object := range map[string]client.Object{
		"a Job": newJob(long), "a run of a Job": newRun("long", long), "a Job's owner": owned,
	} {
		if err := w.admin.Create(t.Context(), object); err == nil || !strings.Contains(err.Error(), "it has 1048576 characters") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.1000v, want a refusal that says how long it is", name, err)
		}
	}
}
