//go:build e2e

package pods

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// tryRestarts is at least one of each family of rows of the table of restarts and deadlines in docs/spec/job.md, with
// what a run says of its tasks.
func (s *site) tryRestarts(t *testing.T) {
	t.Helper()
	for name, run := range map[string]string{
		"fails":           `{cmd: exit 3}`,
		"exceeds-memory":  `{cmd: "tail /dev/zero"}`,
		"is-evicted":      `{cmd: "trap 'exit 9' TERM; echo ready; sleep 1000 & wait"}`,
		"comes-through":   `{volumes: [{containerPath: /out, hostPath: $DIR/out, mode: RW}], cmd: "[ -e /out/once ] || { touch /out/once; exit 7; }", restart: {policy: ON_FAILURE}}`,
		"never-does":      `{cmd: exit 7, restart: {policy: ON_FAILURE, activeDeadlineSeconds: 60}}`,
		"works-too-long":  `{cmd: "trap 'exit 4' TERM; sleep 1000 & wait", restart: {policy: ON_FAILURE, activeDeadlineSeconds: 60}}`,
		"ends-with-grace": `{cmd: "trap 'sleep 3; exit 5' TERM; echo ready; sleep 1000 & wait", taskKillGracePeriodSeconds: 90}`,
		"ends-at-once":    `{cmd: "trap '' TERM; echo ready; while :; do sleep 1; done", taskKillGracePeriodSeconds: 0}`,
	} {
		s.define(t, "team."+name, run)
	}
	t.Run("NEVER: the first failure is the run's", func(t *testing.T) {
		s.reaches(t, "team.fails", v1alpha1.StateFailed, "exit code 3 (Error)")
		s.tasks(t, "team.fails", "Failed 3 Error")
	})
	t.Run("NEVER: memory beyond the limit is the work's fault", func(t *testing.T) {
		s.reaches(t, "team.exceeds-memory", v1alpha1.StateFailed, "exit code 137") // the runtime may miss for what
	})
	t.Run("NEVER: an eviction is not", func(t *testing.T) {
		first := s.works(t, "team.is-evicted")
		if err := s.admin.SubResource("eviction").Create(t.Context(), first, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: first.Name}}); err != nil {
			t.Fatal(err)
		}
		s.eventually(t, func() string {
			run := s.run(t, "team.is-evicted")
			tasks := run.Status.Tasks
			if len(tasks) != 2 || tasks[0].Name != first.Name || tasks[0].State != v1alpha1.TaskFailed || tasks[1].State != v1alpha1.TaskRunning {
				return fmt.Sprintf("tasks %+v", tasks)
			}
			if tasks[0].Reason != "EvictionByEvictionAPI" || tasks[0].FinishedAt == nil || tasks[1].CreatedAt.Before(tasks[0].FinishedAt) {
				return fmt.Sprintf("the second began before the first had ended: %+v", tasks)
			}
			if run.Status.FinishedAt != nil {
				t.Fatalf("the run has ended: %+v", run.Status)
			}
			return ""
		})
	})
	t.Run("ON_FAILURE: until it succeeds", func(t *testing.T) {
		s.reaches(t, "team.comes-through", v1alpha1.StateSuccess, "")
		s.tasks(t, "team.comes-through", "Succeeded 0 Completed")
		if restarts := s.run(t, "team.comes-through").Status.Tasks[0].Restarts; restarts != 1 {
			t.Errorf("%d restarts, want 1", restarts)
		}
	})
	t.Run("ON_FAILURE: until the deadline", func(t *testing.T) {
		s.reaches(t, "team.never-does", v1alpha1.StateFailed, "DeadlineExceeded")
		if code := s.run(t, "team.never-does").Status.ExitCode; code == nil || *code != 7 {
			t.Errorf("exit code %v, want 7", code)
		}
	})
	t.Run("ON_FAILURE: work that is going on at the deadline is ended", func(t *testing.T) {
		s.reaches(t, "team.works-too-long", v1alpha1.StateFailed, "DeadlineExceeded")
		s.tasks(t, "team.works-too-long", "Failed 4 Error")
	})
	t.Run("a run is stopped: it has its grace, and stays", func(t *testing.T) {
		s.works(t, "team.ends-with-grace")
		s.stop(t, "team.ends-with-grace")
		s.reaches(t, "team.ends-with-grace", v1alpha1.StateStopped, "Stopped")
		s.tasks(t, "team.ends-with-grace", "Failed 5 Error") // its own, after three seconds
		if pod := s.pod(t, "team.ends-with-grace"); pod != nil {
			t.Errorf("pod %s is left of a run that has ended", pod.Name)
		}
	})
	t.Run("a run that does not heed SIGTERM is killed", func(t *testing.T) {
		s.works(t, "team.ends-at-once")
		s.stop(t, "team.ends-at-once")
		s.reaches(t, "team.ends-at-once", v1alpha1.StateStopped, "Stopped")
		s.tasks(t, "team.ends-at-once", "Failed 137 Error")
	})
}

// works waits until a Job's work says that it has set its traps, and returns its pod.
func (s *site) works(t *testing.T, job string) *corev1.Pod {
	t.Helper()
	s.reaches(t, job, v1alpha1.StateActive, "At work")
	pod := s.pod(t, job)
	if pod == nil {
		t.Fatalf("%s is at work without a pod", job)
	}
	s.eventually(t, func() string {
		if printed := s.printed(t, job); printed != "ready" {
			return fmt.Sprintf("%s has printed %q", job, printed)
		}
		return ""
	})
	return pod
}

// stop stops the run of a Job, as a person does.
func (s *site) stop(t *testing.T, job string) {
	t.Helper()
	run := s.run(t, job)
	if err := s.admin.Patch(t.Context(), run, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"stop":true}}`))); err != nil {
		t.Fatal(err)
	}
}

// tasks expects what an ended run says of its pods: state, exit code and reason of each, and where and when they were.
func (s *site) tasks(t *testing.T, job string, want ...string) {
	t.Helper()
	run := s.run(t, job)
	var got []string
	for _, task := range run.Status.Tasks {
		code := "-"
		if task.ExitCode != nil {
			code = fmt.Sprint(*task.ExitCode)
		}
		got = append(got, strings.Join([]string{string(task.State), code, task.Reason}, " "))
		if task.Node != s.node || task.CreatedAt == nil || task.StartedAt == nil || task.FinishedAt == nil {
			t.Errorf("%s does not tell where and when: %+v", job, task)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the tasks of %s are %q, want %q; its status: %+v", job, got, want, run.Status)
	}
}

func (s *site) eventually(t *testing.T, wrong func() string) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); ; time.Sleep(100 * time.Millisecond) {
		what := wrong()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}
