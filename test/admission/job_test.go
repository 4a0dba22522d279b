package admission

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

func newJob(name string) *v1alpha1.Job {
	return &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name},
		Spec:       v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}},
	}
}

func TestJobs_byName(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive})
	g := NewWithT(t)
	w.role(t, "alice", everyVerb)
	alice := w.as(t, "alice", "dev")
	g.Eventually(func() error { return alice.List(t.Context(), &v1alpha1.JobList{}) }).WithTimeout(waitFor).Should(Succeed(), "RBAC knows alice")
	g.Expect(alice.Create(t.Context(), newJob("dev.batch.job1"))).To(MatchError(ContainSubstring(`user alice may not "create" on jobs dev.batch.job1 in metronome`)))

	job := newJob("dev.batch.job1")
	g.Expect(w.admin.Create(t.Context(), job)).To(Succeed())
	g.Expect(job.Labels).To(Equal(map[string]string{"in.grantry.dev/dev": "", "in.grantry.dev/dev.batch": "", "in.grantry.dev/dev.batch.job1": ""}))
	g.Expect(job.Spec.Owner).To(Equal(&v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "admin"}))
	g.Expect(job.Spec.OwnerGroups.Names).To(Equal([]string{"system:masters"}))
}
