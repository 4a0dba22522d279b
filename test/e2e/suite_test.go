//go:build e2e

// Package e2e tests Grantry as a whole: a control plane with simulated nodes, and the operator as a process
// that can be killed.
package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// writers is how many requests the tests have under way at once when they create many objects.
const writers = 32

// start brings up a cluster for a test, with a client that has no limits.
func start(t *testing.T, upArgs ...string) (*harness.Cluster, client.Client, string) {
	t.Helper()
	return startWithin(t, "", upArgs...)
}

// startWithin is start with a limit of the cluster's memory.
func startWithin(t *testing.T, memoryLimit string, upArgs ...string) (*harness.Cluster, client.Client, string) {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	cluster := harness.Start(t, harness.Options{
		Name: fmt.Sprintf("e2e-%d", os.Getpid()), Nodes: "kwok", UpArgs: upArgs, MemoryLimit: memoryLimit,
	})
	cluster.TellLog(t, 16<<10)
	t.Cleanup(func() {
		log, _ := os.ReadFile(cluster.LogPath())
		if denied := regexp.MustCompile(`(?i)[^\n]*(forbidden|cannot (create|get|list|watch|update|patch|delete) resource)[^\n]*`).Find(log); denied != nil {
			t.Errorf("config/rbac gives the operator too little: %s", denied)
		}
	})
	c := cluster.Client(t, "admin")
	binary, err := cluster.BuildOperator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cluster, c, binary
}

// number is what the environment says, at least so much. Without it a measurement is skipped, which a make target makes.
func number(t *testing.T, variable string, least int, target string) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		t.Skipf("a measurement, made by make %s; %s is not set", target, variable)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		t.Fatalf("%s=%q is not a number of at least %d", variable, text, least)
	}
	return n
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
	}
}

// createAll creates objects as fast as the API server takes them.
func createAll(t *testing.T, c client.Client, n int, object func(i int) client.Object) {
	t.Helper()
	forAll(t, n, func(i int) error { return c.Create(t.Context(), object(i)) })
}

// forAll does something n times, with several requests under way at once.
func forAll(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var group sync.WaitGroup
	next := make(chan int)
	for range writers {
		group.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func jobACL(name, ns, path string) *v1alpha1.ACL {
	return &v1alpha1.ACL{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: ns, Path: path}},
	}
}

func grant(name, acl, user string) *v1alpha1.Grant {
	return &v1alpha1.Grant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.GrantSpec{
			ACL: acl, Actions: []v1alpha1.Action{v1alpha1.ActionRun},
			Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
		},
	}
}

func job(ns, name, owner string, policy v1alpha1.StartPolicy) *v1alpha1.Job {
	cpus, mem := 0.01, 32.0
	return &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: v1alpha1.JobSpec{
			Owner: &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: owner}, StartPolicy: policy,
			Run: &v1alpha1.RunSpec{Cmd: "sleep 1000", CPUs: &cpus, Mem: &mem},
		},
	}
}

func jobRun(ns, name, job string) *v1alpha1.JobRun {
	return &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.JobRunSpec{Job: job}}
}

// ledger records every batch/v1 Job that was ever created in a namespace, by the run that it is for. It
// keeps what was deleted since.
type ledger struct {
	mu       sync.Mutex
	children map[types.UID]map[types.UID]string
}

// keepLedger follows the namespace until the test ends.
func keepLedger(t *testing.T, cluster *harness.Cluster, ns string) *ledger {
	t.Helper()
	l := &ledger{children: map[types.UID]map[types.UID]string{}}
	follow(t, cluster, batchv1.SchemeGroupVersion.WithKind("Job"), ns, l.record)
	return l
}

// follow calls added for every object of a kind that a namespace holds or gets, until the test ends.
func follow(t *testing.T, cluster *harness.Cluster, kind schema.GroupVersionKind, ns string, added func(metav1.Object)) {
	t.Helper()
	config, err := cluster.Config("admin")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := cache.New(config, cache.Options{DefaultNamespaces: map[string]cache.Config{ns: {}}})
	if err != nil {
		t.Fatal(err)
	}
	example := &metav1.PartialObjectMetadata{}
	example.SetGroupVersionKind(kind)
	informer, err := objects.GetInformer(t.Context(), example, cache.BlockUntilSynced(false))
	if err != nil {
		t.Fatal(err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		if accessor, err := meta.Accessor(object); err == nil {
			added(accessor)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := objects.Start(t.Context()); err != nil {
			t.Errorf("follow %s: %v", kind.Kind, err)
		}
	}()
	if !objects.WaitForCacheSync(t.Context()) {
		t.Fatalf("the cache of %s did not sync", kind.Kind)
	}
}

func (l *ledger) record(child metav1.Object) {
	owner := metav1.GetControllerOf(child)
	if owner == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.children[owner.UID] == nil {
		l.children[owner.UID] = map[types.UID]string{}
	}
	l.children[owner.UID][child.GetUID()] = child.GetName()
}

// of is how many children a run has had.
func (l *ledger) of(run types.UID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.children[run])
}

// runs is how many runs have had a child.
func (l *ledger) runs() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.children)
}
