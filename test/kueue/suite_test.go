//go:build e2e

// Package kueue runs Grantry and Kueue's own manager side by side: who starts a run that has a queue, who stops it,
// and who wins.
package kueue

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

const (
	// waitFor bounds what must come about; a machine may stand still meanwhile.
	waitFor = 2 * time.Minute
	// instance is the namespace of the Jobs.
	instance = "metronome"
)

// site is a cluster with a simulated node, an operator, and Kueue with quota for one processor.
type site struct {
	cluster *harness.Cluster
	admin   client.Client
	kueue   *harness.Process
}

func start(t *testing.T) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	binary := pinned.Build(t, "sigs.k8s.io/kueue/cmd/kueue")
	cluster := harness.Start(t, harness.Options{
		Name: fmt.Sprintf("kueue-%d", os.Getpid()), Nodes: "kwok", UpArgs: []string{"--kwok-nodes=1"},
	})
	cluster.TellLog(t, 8<<10)
	s := &site{cluster: cluster, admin: cluster.Client(t, "admin")}
	cluster.Operate(t)
	s.kueue = runKueue(t, cluster, binary)
	s.kubectl(t, "label", "nodes", "--all", "pool=batch")
	s.apply(t, "testdata/queues.yaml")
	return s
}

func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.cluster.Kubectl(t.Context(), "admin", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apply applies a file. What was defined only just may not be known yet.
func (s *site) apply(t *testing.T, file string) {
	t.Helper()
	harness.Eventually(t, waitFor, func() string {
		if _, err := s.cluster.Kubectl(t.Context(), "admin", "apply", "-f", file); err != nil {
			return err.Error()
		}
		return ""
	})
}

// define creates a Job that runs at once, in a queue unless that is empty.
func (s *site) define(t *testing.T, name, queue string) {
	t.Helper()
	job := &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name}, Spec: v1alpha1.JobSpec{
		Owner:       &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "alice"},
		StartPolicy: v1alpha1.StartOnCreate, OnRevoke: v1alpha1.RevokeSuspend,
		Run: &v1alpha1.RunSpec{Cmd: "sleep 1000", CPUs: new(1.0), Mem: new(32.0)},
	}}
	if queue != "" {
		job.Labels = map[string]string{"kueue.x-k8s.io/queue-name": queue}
	}
	if err := s.admin.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
}

// run is the run of a Job's creation, or nil.
func (s *site) run(t *testing.T, job string) *v1alpha1.JobRun {
	t.Helper()
	return grantrytesting.RunOf(t, s.admin, instance, job)
}

// reaches waits until the run of a Job is in a state, and its message has a text.
func (s *site) reaches(t *testing.T, job, state, text string) {
	t.Helper()
	harness.Eventually(t, waitFor, func() string {
		run := s.run(t, job)
		if run == nil {
			return "there is no run of " + job
		}
		c := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded)
		if c == nil || c.Reason != state || !strings.Contains(c.Message, text) {
			return fmt.Sprintf("the run of %s is %+v; want %s: %s", job, c, state, text)
		}
		return ""
	})
}

// child is the batch/v1 Job of a Job's run.
func (s *site) child(t *testing.T, job string) *batchv1.Job {
	t.Helper()
	child := &batchv1.Job{}
	if err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: instance, Name: batchjob.ChildName(s.run(t, job))}, child); err != nil {
		t.Fatal(err)
	}
	return child
}

// pods are those of a Job's runs.
func (s *site) pods(t *testing.T, job string) []corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	if err := s.admin.List(t.Context(), pods, client.InNamespace(instance), client.HasLabels{v1alpha1.AncestorLabelPrefix + job}); err != nil {
		t.Fatal(err)
	}
	return pods.Items
}
