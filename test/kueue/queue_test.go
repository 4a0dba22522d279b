//go:build e2e

package kueue

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// TestKueue is one story with quota for one run: runs wait for it, Grantry's suspension holds although Kueue has
// quota, permission that comes back gives the run to its queue again, and Kueue stops and starts what it may.
func TestKueue(t *testing.T) {
	s := start(t)
	s.define(t, "dev.first", "team")
	s.reaches(t, "dev.first", v1alpha1.StateActive, "")
	s.placed(t, "dev.first")
	s.define(t, "dev.second", "team")
	s.reaches(t, "dev.second", v1alpha1.StateQueued, "insufficient unused quota for cpu")
	s.show(t)
	s.define(t, "dev.lost", "no-such-queue")
	s.reaches(t, "dev.lost", v1alpha1.StateQueued, "no-such-queue")
	s.define(t, "dev.without", "")
	s.reaches(t, "dev.without", v1alpha1.StateActive, "")
	if workloads := s.kubectl(t, "get", "workloads", "-n", instance, "-o", "name", "-l", "kueue.x-k8s.io/job-uid="+string(s.child(t, "dev.without").UID)); workloads != "" {
		t.Errorf("Kueue looks after a run without a queue: %s", workloads)
	}

	s.kubectl(t, "delete", "grant", "alice-dev")
	s.reaches(t, "dev.first", v1alpha1.StateSuspended, "onRevoke: Suspend")
	s.reaches(t, "dev.second", v1alpha1.StateSuspended, "")
	s.staysSuspended(t, "dev.first")
	s.show(t)

	s.apply(t, "testdata/queues.yaml")
	s.reaches(t, "dev.first", v1alpha1.StateActive, "")
	s.reaches(t, "dev.second", v1alpha1.StateQueued, "insufficient unused quota for cpu")
	s.complete(t, "dev.first")
	s.reaches(t, "dev.second", v1alpha1.StateActive, "")

	s.activate(t, "dev.second", false) // as a preemption does, Kueue stops it
	s.reaches(t, "dev.second", v1alpha1.StateQueued, "its Workload is deactivated")
	harness.Eventually(t, waitFor, func() string {
		if placed := s.child(t, "dev.second").Spec.Template.Spec.NodeSelector; len(placed) > 0 {
			return fmt.Sprintf("Kueue takes its placement back: %v", placed)
		}
		return ""
	})
	s.activate(t, "dev.second", true)
	s.reaches(t, "dev.second", v1alpha1.StateActive, "")
	s.placed(t, "dev.second")
	s.complete(t, "dev.second")
}

// show prints what a person sees, for docs/kueue.md.
func (s *site) show(t *testing.T) {
	t.Helper()
	const columns = `custom-columns=NAME:.metadata.name,STATE:.status.conditions[?(@.type=="Succeeded")].reason,MESSAGE:.status.conditions[?(@.type=="Succeeded")].message`
	t.Logf("kubectl get jrun\n%s", s.kubectl(t, "get", "jrun", "-n", instance, "-o", columns))
	t.Logf("kubectl get jobs.batch\n%s", s.kubectl(t, "get", "jobs.batch", "-n", instance, "-o", "custom-columns=NAME:.metadata.name,SUSPENDED:.spec.suspend"))
}

// placed checks that a run's pod is where the quota is.
func (s *site) placed(t *testing.T, job string) {
	t.Helper()
	harness.Eventually(t, waitFor, func() string {
		pods := s.pods(t, job)
		if len(pods) != 1 || pods[0].Spec.NodeSelector["pool"] != "batch" {
			return fmt.Sprintf("%d pods of %s, on the nodes of the quota", len(pods), job)
		}
		return ""
	})
}

// staysSuspended checks that Kueue, which has admitted a run and tries to start it, is refused by the API server.
func (s *site) staysSuspended(t *testing.T, job string) {
	t.Helper()
	harness.Eventually(t, waitFor, func() string {
		if len(s.pods(t, job)) > 0 {
			return "the pods are gone"
		}
		if !s.kueue.Logged(t, "Grantry holds the run back until its owner's permission is back") {
			return "Kueue has tried to start it"
		}
		return ""
	})
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if child := s.child(t, job); child.Spec.Suspend == nil || !*child.Spec.Suspend {
			t.Fatal("it was started")
		}
	}
	if pods := s.pods(t, job); len(pods) > 0 {
		t.Errorf("%d pods", len(pods))
	}
}

// complete ends a run's work, and waits for its success.
func (s *site) complete(t *testing.T, job string) {
	t.Helper()
	s.kubectl(t, "annotate", "pods", "-n", instance, "-l", v1alpha1.AncestorLabelPrefix+job, "devcluster.grantry.dev/complete-after=0s")
	s.reaches(t, job, v1alpha1.StateSuccess, "")
}

// activate says whether Kueue may run the Workload of a Job's run.
func (s *site) activate(t *testing.T, job string, active bool) {
	t.Helper()
	workloads := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "kueue.x-k8s.io/v1beta2", Kind: "WorkloadList"}}
	selector := client.MatchingLabels{"kueue.x-k8s.io/job-uid": string(s.child(t, job).UID)}
	if err := s.admin.List(t.Context(), workloads, client.InNamespace(instance), selector); err != nil || len(workloads.Items) != 1 {
		t.Fatalf("%d workloads of %s: %v", len(workloads.Items), job, err)
	}
	s.kubectl(t, "patch", "workload", workloads.Items[0].Name, "-n", instance, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"active":%t}}`, active))
}
