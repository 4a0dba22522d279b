//go:build e2e

package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// launchEach is how often alice starts a run while something happens to the replicas. The Job keeps them all.
const launchEach, kept = 2 * time.Second, 100

// endures does to the replicas what happens to them in their life, while alice works: no request fails but those that a
// killed replica had or was sent, and of her runs none is lost and none is launched twice.
func (s *site) endures(t *testing.T) {
	t.Helper()
	s.spread(t)
	l := s.launching(t)
	for _, event := range []struct {
		name   string
		happen func(t *testing.T)
		kills  bool
	}{
		{name: "a rolling restart", happen: s.restart},
		{name: "the leader is killed", happen: s.killLeader, kills: true},
		{name: "the lease is taken away", happen: s.takeLease},
		{name: "a node is drained", happen: s.drain},
	} {
		s.during(t, event.name, event.kills, func() { event.happen(t) })
	}
	l.check(t)
	s.inOrder(t)
}

// during has both webhooks asked while something happens, and for a second before and after. A request may fail only
// where it was under way when a replica was killed, or where the machine is to blame.
func (s *site) during(t *testing.T, name string, kills bool, happen func()) {
	t.Helper()
	asked := s.ask(t)
	time.Sleep(time.Second)
	begun := time.Now()
	happen()
	over := time.Now()
	time.Sleep(time.Second)
	answers := asked()
	t.Logf("%s, in %s: %s", name, over.Sub(begun).Round(time.Second), answers)
	for _, a := range answers.failed {
		if kills && a.end.After(begun) && a.began.Before(over) || answers.pulse.Excuses(a.began, a.end, a.err.Error()) {
			t.Logf("%s after %s: %v", a.began.Sub(begun).Round(time.Millisecond), name, a.err)
			continue
		}
		t.Errorf("%s, and %s after its begin a request failed, after %s: %v", name, a.began.Sub(begun), a.end.Sub(a.began), a.err)
	}
}

// replicas are the pods of Grantry that nobody has told to go.
func (s *site) replicas(t *testing.T) (pods []corev1.Pod) {
	t.Helper()
	list := &corev1.PodList{}
	if err := s.admin.List(t.Context(), list, client.InNamespace(space), client.MatchingLabels{"app.kubernetes.io/name": "grantry"}); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// spread wants three replicas to be on both nodes.
func (s *site) spread(t *testing.T) {
	t.Helper()
	on := map[string]int{}
	for _, pod := range s.replicas(t) {
		on[pod.Spec.NodeName]++
	}
	if len(on) != 2 {
		t.Errorf("the replicas are on these nodes: %v", on)
	}
}

// settled waits until three replicas are ready, and none is on its way out.
func (s *site) settled(t *testing.T) {
	t.Helper()
	eventually(t, "three replicas, all ready", func() error {
		list := &corev1.PodList{}
		if err := s.admin.List(t.Context(), list, client.InNamespace(space), client.MatchingLabels{"app.kubernetes.io/name": "grantry"}); err != nil {
			return err
		}
		ready := 0
		for _, pod := range list.Items {
			if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
				ready++
			}
		}
		if ready != 3 || len(list.Items) != 3 {
			return fmt.Errorf("%d pods, %d of them ready", len(list.Items), ready)
		}
		return nil
	})
}

func (s *site) restart(t *testing.T) {
	t.Helper()
	s.kubectl(t, "carol", "rollout", "restart", "deployment/grantry", "-n", space)
	s.kubectl(t, "carol", "rollout", "status", "deployment/grantry", "-n", space, "--timeout=3m")
	s.settled(t)
}

// holder is who has the lease of the leader.
func (s *site) holder(ctx context.Context) (string, *coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := s.admin.Get(ctx, client.ObjectKey{Namespace: space, Name: "grantry.dev"}, lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", lease, err
	}
	return *lease.Spec.HolderIdentity, lease, nil
}

// leader is the pod that leads.
func (s *site) leader(t *testing.T) (pod corev1.Pod, holder string) {
	t.Helper()
	eventually(t, "a replica leads", func() (err error) {
		if holder, _, err = s.holder(t.Context()); err != nil {
			return err
		}
		pods := s.replicas(t)
		i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return strings.HasPrefix(holder, p.Name+"_") })
		if i < 0 {
			return fmt.Errorf("%q does", holder)
		}
		pod = pods[i]
		return nil
	})
	return pod, holder
}

// anotherLeads waits until somebody else of the replicas has the lease.
func (s *site) anotherLeads(t *testing.T, before string) {
	t.Helper()
	eventually(t, "another one leads", func() error {
		if _, is := s.leader(t); is == before {
			return fmt.Errorf("%s still does", is)
		}
		return nil
	})
}

// killLeader ends the leader's process as a crash would, and waits until another one leads and the kubelet has started it
// anew.
func (s *site) killLeader(t *testing.T) {
	t.Helper()
	pod, holder := s.leader(t)
	if err := syscall.Kill(processOf(t, pod.UID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.anotherLeads(t, holder)
	eventually(t, "it is started anew", func() error {
		is := &corev1.Pod{}
		if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(&pod), is); err != nil {
			return err
		}
		for _, c := range is.Status.ContainerStatuses {
			if c.RestartCount > pod.Status.ContainerStatuses[0].RestartCount && c.Ready {
				return nil
			}
		}
		return fmt.Errorf("%+v", is.Status.ContainerStatuses)
	})
}

// processOf is the process of the operator in a pod: nodes of this machine hide nothing from it.
func processOf(t *testing.T, pod types.UID) (pid int) {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(group, []byte("/pod"+string(pod))) {
			continue // it has just ended, or is somebody else's
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		if err == nil && strings.TrimSpace(string(name)) == "grantry" {
			if _, err := fmt.Sscanf(file, "/proc/%d/cgroup", &pid); err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("the pod %s has no process", pod)
	return 0
}

// takeLease writes another holder into the lease, and waits until a replica leads again.
func (s *site) takeLease(t *testing.T) {
	t.Helper()
	const nobody = "nobody"
	eventually(t, "the lease has another holder", func() error {
		_, lease, err := s.holder(t.Context())
		if err != nil {
			return err
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new(nobody), new(int32(3))
		return s.admin.Update(t.Context(), lease) // a conflict: it was renewed meanwhile
	})
	s.anotherLeads(t, nobody)
}

// drain empties the node that most replicas are on, as for its maintenance, and gives it back.
func (s *site) drain(t *testing.T) {
	t.Helper()
	on := map[string]int{}
	for _, pod := range s.replicas(t) {
		on[pod.Spec.NodeName]++
	}
	node := ""
	for name, count := range on {
		if node == "" || count > on[node] {
			node = name
		}
	}
	s.kubectl(t, "carol", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3m")
	s.settled(t)
	for _, pod := range s.replicas(t) {
		if pod.Spec.NodeName == node {
			t.Errorf("%s is on the node that was drained", pod.Name)
		}
	}
	s.live(t) // every run that was at work is at work again, in one pod
	s.kubectl(t, "carol", "uncordon", node)
}

// launches are alice's runs while something happens, and what was launched for them.
type launches struct {
	*site
	stop func()

	mu       sync.Mutex
	created  []string
	children map[string]map[types.UID]bool // by the run's name
}

// launching lets alice start runs until the launches are checked.
func (s *site) launching(t *testing.T) *launches {
	t.Helper()
	s.apply(t, "carol", fmt.Sprintf(`
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: dev.upgrade.short, namespace: upgrades}
spec: {startPolicy: OnDemand, owner: {kind: User, name: alice}, successfulRunsHistoryLimit: %d, failedRunsHistoryLimit: %d, run: {cmd: "true", cpus: 0.01, mem: 32, disk: 0}}
`, kept, kept))
	ctx, cancel := context.WithCancel(t.Context())
	l := &launches{site: s, children: map[string]map[types.UID]bool{}}
	l.follow(ctx, t)
	alice := s.client(t, "alice")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil && i < kept; i++ {
			run := &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: fmt.Sprintf("short-%d", i)}, Spec: v1alpha1.JobRunSpec{Job: "dev.upgrade.short"}}
			if err := alice.Create(ctx, run); err == nil {
				l.mu.Lock()
				l.created = append(l.created, run.Name)
				l.mu.Unlock()
			}
			time.Sleep(launchEach)
		}
	}()
	l.stop = func() { cancel(); <-ended }
	return l
}

// follow notes every batch/v1 Job that there ever is.
func (l *launches) follow(ctx context.Context, t *testing.T) {
	t.Helper()
	config, err := l.Config("admin")
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := cache.New(config, cache.Options{Scheme: l.admin.Scheme(), DefaultNamespaces: map[string]cache.Config{instance: {}}})
	if err != nil {
		t.Fatal(err)
	}
	informer, err := jobs.GetInformer(ctx, &batchv1.Job{}, cache.BlockUntilSynced(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		child, ok := object.(*batchv1.Job)
		owner := metav1.GetControllerOf(child)
		if !ok || owner == nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.children[owner.Name] == nil {
			l.children[owner.Name] = map[types.UID]bool{}
		}
		l.children[owner.Name][child.UID] = true
	}}); err != nil {
		t.Fatal(err)
	}
	go func() { _ = jobs.Start(t.Context()) }()
	if !jobs.WaitForCacheSync(ctx) {
		t.Fatal("the batch/v1 Jobs are not known")
	}
}

// check wants each run to have ended well, and to have been launched once.
func (l *launches) check(t *testing.T) {
	t.Helper()
	l.stop()
	eventually(t, "every run ends well", func() error {
		runs := &v1alpha1.JobRunList{}
		if err := l.admin.List(t.Context(), runs, client.InNamespace(instance)); err != nil {
			return err
		}
		ended := map[string]bool{}
		for _, run := range runs.Items {
			ended[run.Name] = meta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionSucceeded)
		}
		for _, name := range l.created {
			if !ended[name] {
				return fmt.Errorf("%s has not, or is not there", name)
			}
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.created {
		if n := len(l.children[name]); n != 1 {
			t.Errorf("the run %s was launched %d times", name, n)
		}
	}
	t.Logf("%d runs meanwhile, each launched once", len(l.created))
	if len(l.created) < 5 {
		t.Error("these are too few to show anything")
	}
}

// answers are how alice's requests ended.
type answers struct {
	sent   int
	failed []failure
	pulse  *harness.Pulse
}

type failure struct {
	began, end time.Time
	err        error
}

func (a answers) String() string {
	text := fmt.Sprintf("%d of %d requests failed", len(a.failed), a.sent)
	if len(a.failed) > 0 {
		text += fmt.Sprintf(", the last with: %v", a.failed[len(a.failed)-1].err)
	}
	return text
}

// ask lets alice make requests that the webhooks have to answer, until the function that it returns is called: reads,
// which only Grantry allows her, and creations, which are for admission, too.
func (s *site) ask(t *testing.T) func() answers {
	t.Helper()
	alice := s.client(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	result := answers{pulse: harness.TakePulse(ctx)}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, request := range []func() error{
		func() error {
			return alice.Get(ctx, client.ObjectKey{Namespace: instance, Name: "dev.upgrade.sleeper"}, &v1alpha1.Job{})
		},
		func() error {
			job := &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: "dev.upgrade.asked"}, Spec: v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}}}
			return alice.Create(ctx, job, client.DryRunAll)
		},
	} {
		group.Go(func() {
			for ctx.Err() == nil {
				f := failure{began: time.Now()}
				f.err = request()
				f.end = time.Now()
				mu.Lock()
				if ctx.Err() == nil { // else it is the end that failed
					result.sent++
					if f.err != nil {
						result.failed = append(result.failed, f)
					}
				}
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() answers {
		cancel()
		group.Wait()
		return result
	}
}

// client is a user's.
func (s *site) client(t *testing.T, user string) client.Client {
	t.Helper()
	config, err := s.Config(user)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: s.admin.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
