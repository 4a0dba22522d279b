package cel

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestSmoke(t *testing.T) {
	for _, s := range []string{
		`{apiVersion: grantry.dev/v1alpha1, kind: ACL, metadata: {name: a}, spec: {resource: "dcos:service:metronome:metronome:jobs:dev.batch"}}`,
		`{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: a}, spec: {acl: a, subjects: [{kind: User, name: alice}], actions: [run]}}`,
		`{apiVersion: grantry.dev/v1alpha1, kind: Group, metadata: {name: a}, spec: {members: [{kind: User, name: alice}]}}`,
		`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.job1, namespace: default}, spec: {run: {"cmd":"sleep 1000","cpus":0.01,"mem":32,"disk":0,env: {A: b, C: {secret: s}}, secrets: {s: {source: a/b}}}}}`,
		`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.job2, namespace: default}, spec: {template: {metadata: {labels: {a: b}}, spec: {template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}}`,
		`{apiVersion: grantry.dev/v1alpha1, kind: JobRun, metadata: {name: a, namespace: default}, spec: {job: dev.batch.job1}}`,
	} {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(s), &u.Object); err != nil {
			t.Fatal(err)
		}
		if err := objects.Create(t.Context(), &u); err != nil {
			t.Errorf("%s: %v", u.GetKind(), err)
		}
	}
	var u unstructured.Unstructured
	_ = yaml.Unmarshal([]byte(`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev..batch-, namespace: default}, spec: {run: {"cmd":"sleep 1000"}}}`), &u.Object)
	t.Log(objects.Create(t.Context(), &u))
	_ = yaml.Unmarshal([]byte(`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.a-.batch, namespace: default}, spec: {run: {"cmd":"sleep 1000"}}}`), &u.Object)
	t.Log(objects.Create(t.Context(), &u))
}
