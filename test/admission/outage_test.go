package admission

import (
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/internal/permission"
)

// TestOutage: with no replica to answer, what must go on goes on, and what must not does not, whoever asks.
func TestOutage(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive})
	g := NewWithT(t)
	for _, name := range []string{"dev.meta", "dev.spec", "dev.user", "dev.gc", "dev.ns", "dev.kcm"} {
		g.Expect(w.admin.Create(t.Context(), newJob(name))).To(Succeed())
	}
	w.stop()

	job, run := newJob("dev.meta"), newRun("away", "dev.meta")
	for what, err := range map[string]error{
		"a Job is created":     w.admin.Create(t.Context(), newJob("dev.new")),
		"a run is created":     w.admin.Create(t.Context(), run),
		"a Job is applied":     apply(t.Context(), w.admin, newJob("dev.new"), ""),
		"a spec changes":       merge(t.Context(), w.admin, newJob("dev.spec"), `{"spec":{"suspend":true}}`),
		"a Job is deleted":     w.admin.Delete(t.Context(), newJob("dev.user")),
		"all Jobs are deleted": w.admin.DeleteAllOf(t.Context(), newJob(""), client.InNamespace(space)),
		"the owner goes":       merge(t.Context(), w.admin, newJob("dev.spec"), `{"spec":{"owner":null}}`),
	} {
		g.Expect(err).To(MatchError(ContainSubstring("failed calling webhook")), what)
	}
	for what, patch := range map[string]string{
		"an annotation": `{"metadata":{"annotations":{"a":"b"}}}`, "a label": `{"metadata":{"labels":{"a":"b"}}}`,
		"a finalizer": `{"metadata":{"finalizers":["example.com/x"]}}`, "a finalizer that goes": `{"metadata":{"finalizers":null}}`, "nothing": `{}`,
	} {
		g.Expect(merge(t.Context(), w.admin, job, patch)).To(Succeed(), what)
	}
	g.Expect(w.admin.Get(t.Context(), client.ObjectKeyFromObject(job), job)).To(Succeed())
	g.Expect(w.admin.Update(t.Context(), job)).To(Succeed(), "a storage migration writes back what it read")
	for account, name := range map[string]string{
		"system:serviceaccount:kube-system:generic-garbage-collector": "dev.gc",
		"system:serviceaccount:kube-system:namespace-controller":      "dev.ns",
		"system:kube-controller-manager":                              "dev.kcm",
	} {
		g.Expect(w.as(t, account, "system:masters").Delete(t.Context(), newJob(name))).To(Succeed(), account)
	}
}
