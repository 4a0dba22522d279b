package controllers

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Statuses of containers.

func runningSince(ago time.Duration) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *at(-ago)}}}
}

func waits(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func exitedWith(code int32, reason string, began, ended time.Duration) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: *at(-began), FinishedAt: *at(-ended),
	}}}
}

// again is a container that has ended once, and what it does now.
func again(now corev1.ContainerStatus, before corev1.ContainerStatus, restarts int32) corev1.ContainerStatus {
	now.LastTerminationState, now.RestartCount = before.State, restarts
	return now
}

func TestTaskOf(t *testing.T) {
	t.Parallel()
	minute := time.Minute
	unschedulable := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes have room"}
	evicted := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"}
	cases := map[string]struct {
		phase      corev1.PodPhase
		reason     string
		conditions []corev1.PodCondition
		init, work []corev1.ContainerStatus
		want       v1alpha1.RunTask
		waits      string
	}{
		"new": {want: v1alpha1.RunTask{State: v1alpha1.TaskWaiting}},
		"no node has room": {
			phase: corev1.PodPending, conditions: []corev1.PodCondition{unschedulable},
			want: v1alpha1.RunTask{State: v1alpha1.TaskWaiting, Reason: "Unschedulable"}, waits: "Unschedulable: 0/3 nodes have room",
		},
		"its image can't be pulled": {
			phase: corev1.PodPending, work: []corev1.ContainerStatus{waits("ImagePullBackOff", "no such image")},
			want: v1alpha1.RunTask{State: v1alpha1.TaskWaiting, Reason: "ImagePullBackOff"}, waits: "ImagePullBackOff: no such image",
		},
		"it fetches": {
			phase: corev1.PodPending, init: []corev1.ContainerStatus{runningSince(minute)}, work: []corev1.ContainerStatus{waits("PodInitializing", "")},
			want: v1alpha1.RunTask{State: v1alpha1.TaskWaiting, StartedAt: at(-minute)},
		},
		"it can't fetch": {
			phase: corev1.PodFailed, init: []corev1.ContainerStatus{exitedWith(22, "Error", 2*minute, minute)}, work: []corev1.ContainerStatus{waits("PodInitializing", "")},
			want: v1alpha1.RunTask{State: v1alpha1.TaskFailed, StartedAt: at(-2 * minute), FinishedAt: at(-minute), ExitCode: new(int32(22)), Reason: "Error"},
		},
		"it works": {
			phase: corev1.PodRunning, work: []corev1.ContainerStatus{runningSince(minute)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskRunning, StartedAt: at(-minute)},
		},
		"it works again": {
			phase: corev1.PodRunning, work: []corev1.ContainerStatus{again(runningSince(minute), exitedWith(7, "Error", 3*minute, 2*minute), 4)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskRunning, StartedAt: at(-3 * minute), ExitCode: new(int32(7)), Restarts: 4},
		},
		"it waits to start again": {
			phase: corev1.PodRunning, work: []corev1.ContainerStatus{again(waits("CrashLoopBackOff", "back-off 10s"), exitedWith(7, "Error", 3*minute, 2*minute), 1)},
			want:  v1alpha1.RunTask{State: v1alpha1.TaskWaiting, StartedAt: at(-3 * minute), ExitCode: new(int32(7)), Reason: "CrashLoopBackOff", Restarts: 1},
			waits: "CrashLoopBackOff: back-off 10s",
		},
		"it has just failed, and will start again": {
			phase: corev1.PodRunning, work: []corev1.ContainerStatus{again(exitedWith(7, "Error", 3*minute, 2*minute), exitedWith(6, "Error", 5*minute, 4*minute), 1)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskWaiting, StartedAt: at(-5 * minute), ExitCode: new(int32(7)), Reason: "Error", Restarts: 1},
		},
		"it has succeeded": {
			phase: corev1.PodSucceeded, work: []corev1.ContainerStatus{exitedWith(0, "Completed", 2*minute, minute)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskSucceeded, StartedAt: at(-2 * minute), FinishedAt: at(-minute), ExitCode: new(int32(0)), Reason: "Completed"},
		},
		"it has succeeded in the end": {
			phase: corev1.PodSucceeded, work: []corev1.ContainerStatus{again(exitedWith(0, "Completed", 2*minute, minute), exitedWith(7, "Error", 4*minute, 3*minute), 1)},
			want: v1alpha1.RunTask{
				State: v1alpha1.TaskSucceeded, StartedAt: at(-4 * minute), FinishedAt: at(-minute), ExitCode: new(int32(0)), Reason: "Completed", Restarts: 1,
			},
		},
		"it was killed for its memory": {
			phase: corev1.PodFailed, work: []corev1.ContainerStatus{exitedWith(137, "OOMKilled", 2*minute, minute)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskFailed, StartedAt: at(-2 * minute), FinishedAt: at(-minute), ExitCode: new(int32(137)), Reason: "OOMKilled"},
		},
		"of its containers the failure counts": {
			phase: corev1.PodFailed, work: []corev1.ContainerStatus{exitedWith(3, "Error", 4*minute, 3*minute), exitedWith(0, "Completed", 4*minute, minute)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskFailed, StartedAt: at(-4 * minute), FinishedAt: at(-minute), ExitCode: new(int32(3)), Reason: "Error"},
		},
		"of two failures the last": {
			phase: corev1.PodFailed, work: []corev1.ContainerStatus{exitedWith(3, "Error", 4*minute, 3*minute), exitedWith(4, "Later", 4*minute, minute)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskFailed, StartedAt: at(-4 * minute), FinishedAt: at(-minute), ExitCode: new(int32(4)), Reason: "Later"},
		},
		"it was evicted": {
			phase: corev1.PodFailed, conditions: []corev1.PodCondition{evicted}, work: []corev1.ContainerStatus{exitedWith(143, "Error", 2*minute, minute)},
			want: v1alpha1.RunTask{State: v1alpha1.TaskFailed, StartedAt: at(-2 * minute), FinishedAt: at(-minute), ExitCode: new(int32(143)), Reason: "EvictionByEvictionAPI"},
		},
		"its node had no room after all": {
			phase: corev1.PodFailed, reason: "OutOfcpu", want: v1alpha1.RunTask{State: v1alpha1.TaskFailed, Reason: "OutOfcpu"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "pod1", CreationTimestamp: *at(-time.Hour)},
				Spec:       corev1.PodSpec{NodeName: "node1"},
				Status: corev1.PodStatus{
					Phase: tc.phase, Reason: tc.reason, Conditions: tc.conditions, InitContainerStatuses: tc.init, ContainerStatuses: tc.work,
				},
			}
			tc.want.Name, tc.want.Node, tc.want.CreatedAt = "pod1", "node1", at(-time.Hour)
			got, waits := taskOf(pod)
			if diff := cmp.Diff(tc.want, got); diff != "" || waits != tc.waits {
				t.Errorf("taskOf() waits for %q, want %q (-want +got):\n%s", waits, tc.waits, diff)
			}
		})
	}
}

func TestMergedTasks(t *testing.T) {
	t.Parallel()
	task := func(name string, state v1alpha1.TaskState, created time.Duration) v1alpha1.RunTask {
		return v1alpha1.RunTask{Name: name, State: state, CreatedAt: at(-created)}
	}
	pod := func(task v1alpha1.RunTask) *runPod {
		return &runPod{ObjectMeta: metav1.ObjectMeta{Name: task.Name}, task: task}
	}
	started := func(task v1alpha1.RunTask, ago time.Duration) v1alpha1.RunTask {
		task.StartedAt = at(-ago)
		return task
	}
	many := func(from, to int) (tasks []v1alpha1.RunTask) {
		for i := from; i < to; i++ {
			tasks = append(tasks, task(fmt.Sprintf("pod%02d", i), v1alpha1.TaskFailed, time.Hour-time.Duration(i)*time.Second))
		}
		return tasks
	}
	pods := func(tasks []v1alpha1.RunTask) (pods []*runPod) {
		for _, task := range tasks {
			pods = append(pods, pod(task))
		}
		return pods
	}
	cases := map[string]struct {
		known []v1alpha1.RunTask
		pods  []*runPod
		want  []v1alpha1.RunTask
	}{
		"nothing": {},
		"pods come, in the order of their creation": {
			pods: pods([]v1alpha1.RunTask{task("b", v1alpha1.TaskWaiting, 1), task("c", v1alpha1.TaskRunning, 2), task("a", v1alpha1.TaskWaiting, 1)}),
			want: []v1alpha1.RunTask{task("c", v1alpha1.TaskRunning, 2), task("a", v1alpha1.TaskWaiting, 1), task("b", v1alpha1.TaskWaiting, 1)},
		},
		"a pod changes": {
			known: []v1alpha1.RunTask{task("a", v1alpha1.TaskWaiting, 1)}, pods: pods([]v1alpha1.RunTask{task("a", v1alpha1.TaskRunning, 1)}),
			want: []v1alpha1.RunTask{task("a", v1alpha1.TaskRunning, 1)},
		},
		"its first start is kept": {
			known: []v1alpha1.RunTask{started(task("a", v1alpha1.TaskWaiting, 9), 8)}, pods: pods([]v1alpha1.RunTask{started(task("a", v1alpha1.TaskRunning, 9), 2)}),
			want: []v1alpha1.RunTask{started(task("a", v1alpha1.TaskRunning, 9), 8)},
		},
		"an ended pod goes": {
			known: []v1alpha1.RunTask{task("a", v1alpha1.TaskFailed, 1)}, want: []v1alpha1.RunTask{task("a", v1alpha1.TaskFailed, 1)},
		},
		"a pod goes, and nobody saw how it ended": {
			known: []v1alpha1.RunTask{task("a", v1alpha1.TaskRunning, 1)}, want: []v1alpha1.RunTask{task("a", v1alpha1.TaskLost, 1)},
		},
		"the latest are kept":          {pods: pods(many(0, 20)), want: many(4, 20)},
		"and stay so, look after look": {known: many(4, 20), pods: pods(many(0, 20)), want: many(4, 20)},
		"and when the pods have gone":  {known: many(4, 20), pods: pods(many(20, 21)), want: many(5, 21)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, mergedTasks(tc.known, tc.pods)); diff != "" {
				t.Errorf("mergedTasks() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunPods_departedOnesAreKeptUntilTheyAreTold(t *testing.T) {
	t.Parallel()
	run := plannedRun()
	key := types.NamespacedName{Namespace: run.Namespace, Name: run.Name}
	gone := func(name string) *runPod {
		pod := working(name)
		pod.run, pod.runUID, pod.child = key, run.UID, "child-uid"
		return pod
	}
	var p runPods
	p.depart(gone("pod1"))
	p.depart(&runPod{run: types.NamespacedName{Namespace: run.Namespace}})
	seen := p.of(run, "child-uid")
	if len(seen) != 1 || seen[0].task.State != v1alpha1.TaskLost {
		t.Fatalf("of() = %+v, want one that is lost", seen)
	}
	if others := p.of(run, "another"); len(others) != 0 {
		t.Errorf("another child has the pods %+v", others)
	}
	p.depart(gone("pod2")) // meanwhile
	p.told(key, seen)
	if left := p.of(run, "child-uid"); len(left) != 1 || left[0].Name != "pod2" {
		t.Errorf("after pod1 was told: %+v", left)
	}
	for i := range 3 * maxTasks {
		p.depart(gone(fmt.Sprintf("more%d", i)))
	}
	if n := len(p.of(run, "child-uid")); n != maxTasks {
		t.Errorf("%d pods are kept, want %d", n, maxTasks)
	}
	p.forget(key)
	if len(p.departed) != 0 {
		t.Errorf("after the run went: %+v", p.departed)
	}
}

func TestProgressPace_letsAFewThroughAndTheRestWait(t *testing.T) {
	t.Parallel()
	var p progressPace
	key := func(i int) types.NamespacedName { return types.NamespacedName{Name: fmt.Sprint(i)} }
	const runs = 60
	turns := map[int]time.Duration{}
	for i := range runs {
		turns[i] = p.wait(key(i), policyNoon)
	}
	for i := range runs {
		// 10 at once, and then 5 a second.
		if want := max(0, time.Duration(i-progressBurst+1)*time.Second/progressRate); turns[i].Round(time.Millisecond) != want {
			t.Errorf("run %d waits %s, want %s", i, turns[i], want)
		}
	}
	if again := p.wait(key(50), policyNoon.Add(time.Second)); again != turns[50]-time.Second {
		t.Errorf("asked again, it waits %s: the turn is another one", again)
	}
	if left := p.wait(key(50), policyNoon.Add(turns[50])); left != 0 {
		t.Errorf("at its turn it waits %s", left)
	}
	for i := range 10_000 { // that come and end: the queue does not grow by them
		if got := p.wait(key(runs+i), policyNoon); got != progressAhead {
			t.Fatalf("run %d waits %s", runs+i, got)
		}
		p.forget(key(runs + i))
	}
	if left := p.wait(key(runs), policyNoon.Add(progressAhead)); left > progressAhead {
		t.Errorf("asked again, it waits %s", left)
	}
	for i := range runs + 1 {
		p.forget(key(i))
	}
	if len(p.turns) != 0 {
		t.Errorf("turns are left: %v", p.turns)
	}
}

func TestIsProgress(t *testing.T) {
	t.Parallel()
	says := func(state, message string, tasks ...v1alpha1.RunTask) *v1alpha1.JobRun {
		run := plannedRun()
		plan := runPlan{Ready: readyAsLaunched(), Authorized: authorizedReport(granted), Succeeded: running(state, message), Tasks: tasks}
		setRunStatus(run, plan, policyNoon)
		return run
	}
	revoked := says(v1alpha1.StateActive, "At work")
	setRunStatus(revoked, runPlan{Authorized: authorizedReport(notGranted), Succeeded: running(v1alpha1.StateActive, "At work")}, policyNoon)
	over := plannedRun(inState(metav1.ConditionTrue, v1alpha1.StateSuccess))
	task := v1alpha1.RunTask{Name: "pod1", State: v1alpha1.TaskRunning}
	cases := map[string]struct {
		before, after *v1alpha1.JobRun
		want          bool
	}{
		"nothing":                {before: says(v1alpha1.StateActive, "At work"), after: says(v1alpha1.StateActive, "At work")},
		"it starts":              {before: plannedRun(), after: says(v1alpha1.StateStarting, "waits"), want: true},
		"it still starts":        {before: says(v1alpha1.StateStarting, "waits"), after: says(v1alpha1.StateStarting, "waits on"), want: true},
		"it works":               {before: says(v1alpha1.StateStarting, "waits"), after: says(v1alpha1.StateActive, "At work")},
		"it works, at once":      {before: plannedRun(), after: says(v1alpha1.StateActive, "At work")},
		"a pod is on its node":   {before: says(v1alpha1.StateActive, "At work"), after: says(v1alpha1.StateActive, "At work", task), want: true},
		"it waits to work again": {before: says(v1alpha1.StateActive, "At work"), after: says(v1alpha1.StateActive, "Pod pod1 waits"), want: true},
		"permission went":        {before: says(v1alpha1.StateActive, "At work"), after: revoked},
		"it has ended":           {before: says(v1alpha1.StateStarting, "waits"), after: over},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := isProgress(tc.before, tc.after); got != tc.want {
				t.Errorf("isProgress() = %v", got)
			}
		})
	}
}

// TestPodOfRun_isSmall: the pods of every run that is kept must be affordable.
func TestPodOfRun_isSmall(t *testing.T) {
	const pods, limit = 20_000, 2048
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	store := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{byRun: runOfPod})
	before := heap()
	for i := range pods {
		uid := func(kind string) types.UID { return types.UID(fmt.Sprintf("3f0c1f5e-93c8-4d6e-%s-%012d", kind, i)) }
		whole := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "metronome", Name: fmt.Sprintf("dev-batch-nightly-report-%d-vlmwwxynx7-x7xl2", i), UID: uid("aaaa"), ResourceVersion: fmt.Sprint(1_000_000 + i),
				CreationTimestamp: *at(-time.Hour),
				Labels:            map[string]string{v1alpha1.LabelRun: string(uid("bbbb"))},
				Annotations:       map[string]string{v1alpha1.AnnotationRun: fmt.Sprintf("dev.batch.nightly-report-%d-202611220425-vlmwwxynx7", i)},
				OwnerReferences:   []metav1.OwnerReference{{UID: uid("cccc"), Controller: new(true)}},
			},
			Spec:   corev1.PodSpec{NodeName: fmt.Sprintf("node-%d.example.internal", i)},
			Status: corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{exitedWith(0, "Completed", time.Hour, time.Minute)}},
		}
		kept, err := slimPod(whole)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := slimPod(kept); again != kept || err != nil {
			t.Fatalf("a second time it is %v, %v", again, err)
		}
		if err := store.Add(kept); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / pods
	t.Logf("a pod of a run is kept in %d bytes", each)
	if each > limit {
		t.Errorf("a pod of a run is kept in %d bytes, want %d at the most", each, limit)
	}
	runtime.KeepAlive(store)
}
