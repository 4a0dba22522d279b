//go:build e2e

package flux

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// waitFor bounds what must come about; a machine may stand still meanwhile.
const waitFor = 3 * time.Minute

// site is a cluster with an operator, Flux' kustomize-controller, and a repository that starts as the example.
type site struct {
	cluster    *harness.Cluster
	admin      client.Client
	repository *repository
	flux       *harness.Process
}

func start(t *testing.T) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	binary := pinned.Build(t, "github.com/fluxcd/kustomize-controller")
	cluster := harness.Start(t, harness.Options{Name: fmt.Sprintf("flux-%d", os.Getpid()), Nodes: "none"})
	cluster.TellLog(t, 8<<10)
	s := &site{cluster: cluster, admin: cluster.Client(t, "admin")}
	args, err := cluster.Admission(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster.Operate(t, args...)
	s.flux = runController(t, cluster, binary)
	s.repository = openRepository(t)
	return s
}

func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.cluster.KubectlPatiently(t.Context(), waitFor, "admin", "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// object reads one of any kind; nil is none.
func (s *site) object(t *testing.T, apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// grantry reads one of our kinds; nil is none.
func (s *site) grantry(t *testing.T, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	return s.object(t, v1alpha1.GroupVersion.String(), kind, namespace, name)
}

func (s *site) job(t *testing.T, name string) *v1alpha1.Job {
	t.Helper()
	job := &v1alpha1.Job{}
	if err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: "metronome", Name: name}, job); err != nil {
		t.Fatal(err)
	}
	return job
}

// versions are those of all objects of ours, by kind and name.
func (s *site) versions(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, kind := range []string{"ACL", "Grant", "Group", "Job"} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := s.admin.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for _, obj := range list.Items {
			versions[kind+" "+obj.Name] = obj.ResourceVersion
		}
	}
	return versions
}

// status is what a Kustomization says of itself: "True ReconciliationSucceeded: message", and what it was last asked for.
func (s *site) status(t *testing.T, kustomization string) (ready, handled string) {
	t.Helper()
	obj := s.object(t, "kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", kustomization)
	if obj == nil {
		return "it is gone", ""
	}
	var status struct {
		LastHandledReconcileAt string             `json:"lastHandledReconcileAt"`
		Conditions             []metav1.Condition `json:"conditions"`
	}
	content, _, _ := unstructured.NestedMap(obj.Object, "status")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(status.Conditions, "Ready"); c != nil {
		ready = fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
	return ready, status.LastHandledReconcileAt
}

// becomes asks Flux to look at a Kustomization until it says something that begins so, and has the parts.
func (s *site) becomes(t *testing.T, kustomization, begin string, parts ...string) (said string) {
	t.Helper()
	var asked time.Time
	for deadline := time.Now().Add(waitFor); ; time.Sleep(500 * time.Millisecond) {
		if time.Since(asked) > 20*time.Second { // in place of its intervals, which are a minute and more
			asked = time.Now()
			s.ask(t, kustomization)
		}
		said, _ = s.status(t, kustomization)
		if strings.HasPrefix(said, begin) && containsAll(said, parts) {
			return said
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s says %q, want %s … %q", kustomization, said, begin, parts)
		}
	}
}

// ask makes Flux look at a Kustomization now. It says when it has looked by the time of the question.
func (s *site) ask(t *testing.T, kustomization string) (at string) {
	t.Helper()
	at = time.Now().Format(time.RFC3339Nano)
	s.kubectl(t, "annotate", "--overwrite", "kustomizations.kustomize.toolkit.fluxcd.io", kustomization, "-n", "flux-system",
		"reconcile.fluxcd.io/requestedAt="+at)
	return at
}

// appliedAgain waits until Kustomizations have been applied once more, without a change.
func (s *site) appliedAgain(t *testing.T, kustomizations ...string) {
	t.Helper()
	for _, name := range kustomizations {
		at := s.ask(t, name)
		harness.Eventually(t, waitFor, func() string {
			if ready, handled := s.status(t, name); handled != at || !strings.HasPrefix(ready, "True ") {
				return fmt.Sprintf("%s is applied again; it says %q", name, ready)
			}
			return ""
		})
	}
}

// applied waits until a Kustomization has applied the latest revision, and its objects are healthy.
func (s *site) applied(t *testing.T, kustomizations ...string) {
	t.Helper()
	for _, name := range kustomizations {
		s.becomes(t, name, "True ReconciliationSucceeded", s.repository.revision)
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// remove takes a Kustomization out of the cluster, as Git without its file does.
func (s *site) remove(t *testing.T, kustomization string) {
	t.Helper()
	s.kubectl(t, "delete", "--wait=false", "kustomizations.kustomize.toolkit.fluxcd.io", kustomization, "-n", "flux-system")
}

// isGone waits until a Kustomization is gone, and what it had applied: "KIND NAMESPACE/NAME".
func (s *site) isGone(t *testing.T, kustomization string, objects ...string) {
	t.Helper()
	harness.Eventually(t, waitFor, func() string {
		if s.object(t, "kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", kustomization) != nil {
			return "Kustomization " + kustomization + " goes"
		}
		for _, object := range objects {
			kind, key, _ := strings.Cut(object, " ")
			namespace, name, _ := strings.Cut(key, "/")
			if s.grantry(t, kind, namespace, name) != nil {
				return object + " goes"
			}
		}
		return ""
	})
}
