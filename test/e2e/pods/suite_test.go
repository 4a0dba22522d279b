//go:build e2e

// Package pods looks at what is true inside of the containers of runs: Metronome's short form, field by field, on a
// real node. That the fields become what they should is tested without one, in internal/batchjob.
package pods

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

const (
	// waitFor bounds what must come about; a machine may stand still meanwhile.
	waitFor = 3 * time.Minute
	// instance is the namespace of the Jobs.
	instance = "metronome"
	// image is what every real node has: there is no registry.
	image = "docker.io/library/busybox:1"
	// pullSecret is what the service account of the Jobs' pods names for pulling.
	pullSecret = "registry"
)

// site is a cluster with one real node, an operator, and files that can be fetched.
type site struct {
	cluster *harness.Cluster
	admin   client.Client
	// node is the real node's name, dir a directory of it.
	node, dir string
	files     *files
	// facts are what definitions and outputs speak of: $NODE, $DIR, $FILES, $NETWORK.
	facts *strings.Replacer
}

// start brings everything up. It skips the test where there can be no real node.
func start(t *testing.T) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	cluster := harness.Start(t, harness.Options{Name: fmt.Sprintf("pods-%d", os.Getpid()), Nodes: "auto"})
	cluster.RequireRealNode(t)
	cluster.TellLog(t, 8<<10)
	s := &site{cluster: cluster, admin: cluster.Client(t, "admin"), dir: t.TempDir()}
	node := s.onlyNode(t)
	s.node = node.Name
	s.files = serveFiles(t, addressOf(t, node))
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	s.facts = strings.NewReplacer("$NODE", node.Labels[corev1.LabelHostname], "$DIR", s.dir, "$FILES", s.files.url, "$NETWORK", network)
	cluster.Operate(t, "--default-image", image)
	s.fill(t)
	return s
}

// fill makes what the Jobs need: alice may run them, and there are secrets and a directory.
func (s *site) fill(t *testing.T) {
	t.Helper()
	subject := []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}}
	s.create(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: instance}},
		&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Spec: v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: instance, Path: "team"}}},
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Spec: v1alpha1.GrantSpec{ACL: "team", Actions: []v1alpha1.Action{v1alpha1.ActionRun}, Subjects: subject}},
		secret("team.login", map[string]string{"value": "opensesame", "user": "ali baba"}))
	s.pullWithSecret(t)
	for name, content := range map[string]string{"in/given": "given\n", "out/.keep": ""} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// pullWithSecret names a Secret for pulling in the account of pods that have no other.
func (s *site) pullWithSecret(t *testing.T) {
	t.Helper()
	account := &corev1.ServiceAccount{}
	for deadline := time.Now().Add(waitFor); ; time.Sleep(100 * time.Millisecond) {
		err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: instance, Name: "default"}, account)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the namespace has no service account: %v", err)
		}
	}
	before := account.DeepCopy()
	account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: pullSecret}}
	if err := s.admin.Patch(t.Context(), account, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func secret(name string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name}, StringData: data}
}

func (s *site) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := s.admin.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
	}
}

// onlyNode is the cluster's node.
func (s *site) onlyNode(t *testing.T) *corev1.Node {
	t.Helper()
	nodes := &corev1.NodeList{}
	if err := s.admin.List(t.Context(), nodes); err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%d nodes: %v", len(nodes.Items), err)
	}
	return &nodes.Items[0]
}

// addressOf is where pods reach the machine that the node is on.
func addressOf(t *testing.T, node *corev1.Node) string {
	t.Helper()
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	t.Fatalf("node %s has no address: %v", node.Name, node.Status.Addresses)
	return ""
}

// define creates a Job that runs at once, with a spec.run in YAML.
func (s *site) define(t *testing.T, name, run string) {
	t.Helper()
	job := &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name}, Spec: v1alpha1.JobSpec{
		Owner: &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "alice"}, StartPolicy: v1alpha1.StartOnCreate, Run: &v1alpha1.RunSpec{},
	}}
	if err := yaml.UnmarshalStrict([]byte(s.facts.Replace(run)), job.Spec.Run); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	// A small machine has room for all of them at once.
	if job.Spec.Run.CPUs == nil {
		job.Spec.Run.CPUs = new(0.01)
	}
	if job.Spec.Run.Mem == nil {
		job.Spec.Run.Mem = new(32.0)
	}
	s.create(t, job)
}

// run is the run of a Job's creation, or nil.
func (s *site) run(t *testing.T, job string) *v1alpha1.JobRun {
	t.Helper()
	return grantrytesting.RunOf(t, s.admin, instance, job)
}

// pod is the pod of a Job's run, or nil.
func (s *site) pod(t *testing.T, job string) *corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	if err := s.admin.List(t.Context(), pods, client.InNamespace(instance), client.HasLabels{v1alpha1.AncestorLabelPrefix + job}); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) == 0 {
		return nil
	}
	return &pods.Items[0]
}

// reaches waits until the run of a Job is in a state, and its message has a text.
func (s *site) reaches(t *testing.T, job, state, text string) {
	t.Helper()
	got := "there is no run"
	for deadline := time.Now().Add(waitFor); ; time.Sleep(100 * time.Millisecond) {
		if run := s.run(t, job); run != nil {
			if c := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded); c != nil {
				if c.Reason == state && strings.Contains(c.Message, text) {
					return
				}
				got = c.Reason + ": " + c.Message
			}
			if run.Status.FinishedAt != nil || time.Now().After(deadline) {
				t.Fatalf("the run of %s is %s; want %s: %s; its pod: %s", job, got, state, text, s.tell(t, job))
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", job, got)
		}
	}
}

// tell is what a person would look at to see why a pod is not what it should be.
func (s *site) tell(t *testing.T, job string) string {
	t.Helper()
	pod := s.pod(t, job)
	if pod == nil {
		return "none"
	}
	out, err := s.cluster.Kubectl(t.Context(), "admin", "describe", "pod", pod.Name, "-n", instance)
	if err != nil {
		return err.Error()
	}
	return out + "\n" + s.printed(t, job)
}

// printed is what the work of a Job's run wrote.
func (s *site) printed(t *testing.T, job string) string {
	t.Helper()
	out, err := s.cluster.Kubectl(t.Context(), "admin", "logs", "-n", instance, "-l", v1alpha1.AncestorLabelPrefix+job, "-c", "main", "--tail=-1")
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSuffix([]byte(out), []byte("\n")))
}
