//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/test/harness"
)

// launches is how many Jobs are created at once.
const launches = 2000

// attempts is how often the rates are measured until one measurement is good. What else the machine does
// makes either side slower, and so the ratio of one measurement worse or better than it is.
const attempts = 4

// TestLaunchRate creates the same batch/v1 Jobs twice: directly, and as Grantry's Jobs that run at their
// creation. Both sides are timed from the first request until the last pod exists, in the same cluster and
// the same run. It asserts ratios and counts; the times are for docs/architecture.md.
func TestLaunchRate(t *testing.T) {
	cluster, c, binary := start(t, "--kwok-nodes=10")
	var ratio float64
	for attempt := range attempts {
		if ratio = compareRates(t, cluster, c, binary, attempt); ratio >= 0.4 {
			return
		}
		removeJobs(t, c, fmt.Sprintf("granted-%d", attempt), &v1alpha1.Job{})
	}
	t.Errorf("launching is %.2fx as fast as creating the same batch/v1 Jobs directly, want 0.4x in one of %d measurements", ratio, attempts)
}

// compareRates measures both sides once and returns how fast Grantry is, as a part of how fast it is to
// create the batch/v1 Jobs directly.
func compareRates(t *testing.T, cluster *harness.Cluster, c client.Client, binary string, attempt int) (ratio float64) {
	t.Helper()
	directly, granted := fmt.Sprintf("direct-%d", attempt), fmt.Sprintf("granted-%d", attempt)
	create(t, c, namespace(directly), namespace(granted), jobACL(granted, granted, ""), grant(granted, granted, "alice"))

	direct := timeUntilPodsExist(t, cluster, c, directly, func(i int) client.Object { return directChild(t, directly, i) })
	removeJobs(t, c, directly, &batchv1.Job{})

	operator := cluster.RunOperator(t, binary, "--leader-elect=true", "--leader-election-namespace=grantry-system")
	before := calls(t, operator)
	launched := timeUntilPodsExist(t, cluster, c, granted, func(i int) client.Object {
		// Labelled as its admission would: a Job that comes without costs one PATCH, once in its life.
		labelled := job(granted, jobName(i), "alice", v1alpha1.StartOnCreate)
		labelled.Labels = batchjob.AncestorLabels(labelled.Name)
		return labelled
	})
	atPods := calls(t, operator) - before
	harness.Eventually(t, time.Minute, func() string { return notActive(t, c, granted) })
	settled := calls(t, operator) - before
	memory := gauge(t, operator, "process_resident_memory_bytes")
	operator.Stop()

	ratio = direct.Seconds() / launched.Seconds()
	t.Logf("direct:  %d batch/v1 Jobs in %s, %.0f/s", launches, direct.Round(time.Millisecond), launches/direct.Seconds())
	t.Logf("granted: %d Jobs launched in %s, %.0f/s, %.2fx of direct", launches, launched.Round(time.Millisecond), launches/launched.Seconds(), ratio)
	t.Logf("API calls per launch: %.2f until the pods exist, %.2f until every status says so", atPods/launches, settled/launches)
	usage := operator.Usage()
	t.Logf("operator: %.0f MiB resident with %d Jobs and runs, %.2f ms of CPU per launch",
		memory/(1<<20), launches, 1000*time.Duration(usage.Utime.Nano()+usage.Stime.Nano()).Seconds()/launches)
	if settled/launches > 6 {
		t.Errorf("%.2f API calls per launch, want 6 at the most", settled/launches)
	}
	live := &v1alpha1.JobRunList{}
	if err := c.List(t.Context(), live, client.InNamespace(granted)); err != nil || len(live.Items) != launches {
		t.Errorf("%d runs of %d Jobs (%v)", len(live.Items), launches, err)
	}
	return ratio
}

// jobName spreads Jobs over fifty groups.
func jobName(i int) string { return fmt.Sprintf("team-%d.batch.job%d", i%50, i) }

// removeJobs deletes every Job of a namespace, and waits until their pods are gone, too.
func removeJobs(t *testing.T, c client.Client, ns string, kind client.Object) {
	t.Helper()
	harness.Eventually(t, 5*time.Minute, func() string {
		// Thousands may take longer than the API server gives one request; the next one goes on.
		err := c.DeleteAllOf(t.Context(), kind, client.InNamespace(ns), client.PropagationPolicy(metav1.DeletePropagationBackground))
		if err != nil {
			return err.Error()
		}
		return ""
	})
	harness.Eventually(t, 5*time.Minute, func() string { return podsLeft(t, c, ns) })
}

// timeUntilPodsExist creates objects as fast as it can, and returns how long it took until as many pods
// existed.
func timeUntilPodsExist(t *testing.T, cluster *harness.Cluster, c client.Client, ns string, object func(i int) client.Object) time.Duration {
	t.Helper()
	var exist atomic.Int64
	done := make(chan time.Time, 1)
	follow(t, cluster, corev1.SchemeGroupVersion.WithKind("Pod"), ns, func(metav1.Object) {
		if exist.Add(1) == launches {
			done <- time.Now()
		}
	})
	begun := time.Now()
	createAll(t, c, launches, object)
	select {
	case end := <-done:
		return end.Sub(begun)
	case <-time.After(10 * time.Minute):
		t.Fatalf("%s: %d of %d pods exist", ns, exist.Load(), launches)
		return 0
	}
}

// directChild is the batch/v1 Job that Grantry would create, without an owner, and with its labels in a domain
// that others may use.
func directChild(t *testing.T, ns string, i int) *batchv1.Job {
	t.Helper()
	name := jobName(i)
	definition, run := job(ns, name, "alice", v1alpha1.StartOnCreate), jobRun(ns, name, name)
	run.UID = types.UID(name)
	child, err := batchjob.Child(batchjob.Input{
		Job: definition, Run: run, Owner: *definition.Spec.Owner,
		Grant: "alice", ACL: "granted", Options: batchjob.Options{DefaultImage: "docker.io/library/busybox:latest"},
	})
	if err != nil {
		t.Error(err)
		return nil
	}
	child.OwnerReferences = nil
	child.Labels, child.Spec.Template.Labels = elsewhere(child.Labels), elsewhere(child.Spec.Template.Labels)
	child.Spec.Selector.MatchLabels = elsewhere(child.Spec.Selector.MatchLabels)
	return child
}

// elsewhere moves labels into a domain of the same length.
func elsewhere(labels map[string]string) map[string]string {
	moved := make(map[string]string, len(labels))
	for key, value := range labels {
		moved[strings.Replace(key, "grantry.dev/", "example.org/", 1)] = value
	}
	return moved
}

func podsLeft(t *testing.T, c client.Client, ns string) string {
	t.Helper()
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := c.List(t.Context(), pods, client.InNamespace(ns), client.Limit(1)); err != nil {
		return err.Error()
	}
	if len(pods.Items) > 0 {
		return "pods are left in " + ns
	}
	return ""
}

// notActive says which Jobs' status does not show a run at work yet.
func notActive(t *testing.T, c client.Client, ns string) string {
	t.Helper()
	jobs := &v1alpha1.JobList{}
	if err := c.List(t.Context(), jobs, client.InNamespace(ns)); err != nil {
		return err.Error()
	}
	waiting := 0
	for _, j := range jobs.Items {
		if j.Status.LastRun == nil || j.Status.LastRun.State != v1alpha1.StateActive {
			waiting++
		}
	}
	if waiting > 0 {
		return fmt.Sprintf("%d Jobs do not show an active run", waiting)
	}
	return ""
}

func calls(t *testing.T, o *harness.Operator) float64 {
	t.Helper()
	n, err := o.APICalls()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func gauge(t *testing.T, o *harness.Operator, name string) float64 {
	t.Helper()
	families, err := o.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	return families[name].GetMetric()[0].GetGauge().GetValue()
}

func stateOf(run *v1alpha1.JobRun) string {
	if c := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded); c != nil {
		return c.Reason
	}
	return v1alpha1.StatePending
}

// childList lists children by their metadata.
func childList() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("JobList"))
	return list
}
