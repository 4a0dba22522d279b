//go:build e2e

package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
	"github.com/grantry/grantry/test/story"
)

// TestInstall is the life of an installation, with jobs that run all the time.
func TestInstall(t *testing.T) {
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	s := up(t)
	before, now := s.versions(t, root)

	s.prepare(t)
	s.helm(t, append([]string{"install", release}, before.args(s)...)...)
	s.inOrder(t)
	s.bindings(t)
	// The API server asks Grantry only now that it is ready.
	if err := s.SetModeAt(t.Context(), "permissive", s.address+":443"); err != nil {
		t.Fatal(err)
	}
	s.aliceWorks(t)

	live := s.live(t)
	var notes string
	s.during(t, "Helm upgrades", false, func() { notes = s.helm(t, append([]string{"upgrade", release}, now.args(s)...)...) })
	if !strings.Contains(notes, "server: https://"+s.address+"/authorize") {
		t.Error("the notes of the release don't say where the API server finds the authorization webhook")
	}
	s.goOn(t, live)
	s.inOrder(t)
	s.aliceRuns(t, "after-upgrade")

	met, err := story.Tell(t.Context(), s.Cluster, os.Stdout, story.Options{Admission: true})
	if err != nil {
		t.Fatalf("the story: %v", err)
	}
	t.Logf("the story: %d expectations were met", met)
	s.inOrder(t)
	s.endures(t)

	live = s.live(t)
	s.during(t, "Helm rolls back", false, func() { s.helm(t, "rollback", release, "1", "--wait", "--timeout=5m") })
	s.goOn(t, live)
	s.aliceRuns(t, "after-rollback")

	live = s.live(t)
	if err := s.SetMode(t.Context(), "disabled"); err != nil { // first, or the API server asks nobody
		t.Fatal(err)
	}
	s.helm(t, "uninstall", release, "--wait", "--timeout=5m")
	s.nothingLeft(t)
	s.goOn(t, live)
	s.nobodyBlocked(t)

	s.again(t, now)
}

// bindings wants the operator's account to have what the chart's roles give, and no more.
func (s *site) bindings(t *testing.T) {
	t.Helper()
	clusterBindings, bindings := &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}
	if err := errors.Join(s.admin.List(t.Context(), clusterBindings), s.admin.List(t.Context(), bindings)); err != nil {
		t.Fatal(err)
	}
	isOperator := func(subject rbacv1.Subject) bool { return subject.Name == "grantry" && subject.Namespace == space }
	var got []string
	for _, b := range clusterBindings.Items {
		if slices.ContainsFunc(b.Subjects, isOperator) {
			got = append(got, b.RoleRef.Kind+"/"+b.RoleRef.Name)
		}
	}
	for _, b := range bindings.Items {
		if slices.ContainsFunc(b.Subjects, isOperator) {
			got = append(got, b.Namespace+": "+b.RoleRef.Kind+"/"+b.RoleRef.Name)
		}
	}
	want := []string{"ClusterRole/grantry", "ClusterRole/grantry-metrics-auth", space + ": Role/grantry", space + ": Role/grantry-leader-election"}
	if !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("the operator's account is bound to %q, want %q", got, want)
	}
}

// alicesPolicy gives alice everything below dev.upgrade.
const alicesPolicy = `
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: dev-upgrade}
spec: {resource: "dcos:service:metronome:upgrades:jobs:dev.upgrade"}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: dev-upgrade}
spec: {acl: dev-upgrade, subjects: [{kind: User, name: alice}], actions: [full]}
`

// aliceWorks lets alice, who has nothing by RBAC, make a Job and run it, on a Grant that carol writes.
func (s *site) aliceWorks(t *testing.T) {
	t.Helper()
	s.kubectl(t, "carol", "create", "namespace", instance)
	s.apply(t, "carol", alicesPolicy)
	const job = `
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: %s, namespace: upgrades}
spec: {startPolicy: OnDemand, run: {cmd: "trap 'exit 1' TERM; sleep 100000 & wait", cpus: 0.01, mem: 32, disk: 0}}
`
	eventually(t, "alice creates a Job", func() error {
		out, err := s.KubectlStdin(t.Context(), "alice", fmt.Sprintf(job, "dev.upgrade.sleeper"), "apply", "-f", "-")
		if err != nil {
			return errors.New(out)
		}
		return nil
	})
	if owner := s.kubectl(t, "carol", "get", "gjob", "dev.upgrade.sleeper", "-n", instance, "-o", "jsonpath={.spec.owner.name}"); owner != "alice" {
		t.Errorf("the Job's owner is %q: admission did not see it", owner)
	}
	if out, err := s.KubectlPatiently(t.Context(), patience, "alice", fmt.Sprintf(job, "ops.other"), "create", "-f", "-"); err == nil || !strings.Contains(out, "grantry") {
		t.Errorf("alice creates a Job that nobody granted: %s", out)
	}
	if out, err := s.KubectlPatiently(t.Context(), patience, "bob", fmt.Sprintf(job, "dev.upgrade.bobs"), "create", "-f", "-"); err == nil || !strings.Contains(out, "grantry") {
		t.Errorf("bob creates a Job: %s", out)
	}
	s.aliceRuns(t, "before")
}

// aliceRuns lets alice start a run, and waits until its pod runs.
func (s *site) aliceRuns(t *testing.T, name string) {
	t.Helper()
	s.createRun(t, name)
	s.podRuns(t, name)
}

// createRun lets alice create a run.
func (s *site) createRun(t *testing.T, name string) {
	t.Helper()
	// Not apply, which reads first, and nobody is told of a run that there isn't.
	if _, err := s.KubectlPatiently(t.Context(), patience, "alice", fmt.Sprintf(`
apiVersion: grantry.dev/v1alpha1
kind: JobRun
metadata: {name: %s, namespace: upgrades}
spec: {job: dev.upgrade.sleeper}
`, name), "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// podRuns waits until a run's pod runs.
func (s *site) podRuns(t *testing.T, run string) {
	t.Helper()
	eventually(t, "the run "+run+" has a pod that runs", func() error {
		for pod := range s.pods(t) {
			if strings.HasPrefix(pod, run) {
				return nil
			}
		}
		return fmt.Errorf("%v", s.pods(t))
	})
}

// goOn wants every pod that ran to run on, the same one, and nothing to run twice.
func (s *site) goOn(t *testing.T, live map[string]types.UID) {
	t.Helper()
	now := s.pods(t)
	for name, uid := range live {
		if now[name] != uid {
			t.Errorf("the pod %s ran, and does not any more", name)
		}
	}
	of := map[string]string{}
	for name := range now {
		child := name[:strings.LastIndex(name, "-")] // the batch/v1 Job, of which there is one for each run
		if of[child] != "" {
			t.Errorf("%s and %s run for one run", of[child], name)
		}
		of[child] = name
	}
}

// nothingLeft wants the CRDs and what people wrote to be there, and nothing else of Grantry's.
func (s *site) nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is left", func() error {
		if left := s.leftovers(t); len(left) > 0 {
			return fmt.Errorf("there is still %s", left)
		}
		return nil
	})
	if got := s.kubectl(t, "carol", "get", "crd", "-o", "name"); strings.Count(got, "grantry.dev") != 5 {
		t.Errorf("CRDs: %s", got)
	}
	s.kubectl(t, "carol", "get", "gjob", "dev.upgrade.sleeper", "-n", instance)
	s.kubectl(t, "carol", "delete", "namespace", space, "--timeout=3m")
}

// nobodyBlocked does without Grantry what its webhooks and policies were asked about.
func (s *site) nobodyBlocked(t *testing.T) {
	t.Helper()
	s.apply(t, "carol", `
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: ops.free, namespace: upgrades}
spec: {run: {cmd: "true"}}
`)
	s.kubectl(t, "carol", "annotate", "gjob", "dev.upgrade.sleeper", "-n", instance, "who=carol")
	s.kubectl(t, "carol", "annotate", "jobs.batch", "--all", "-n", instance, "who=carol")
	run := &v1alpha1.JobRun{}
	key := client.ObjectKey{Namespace: instance, Name: "before"}
	if err := s.admin.Get(t.Context(), key, run); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, "carol", "delete", "jrun", "before", "-n", instance, "--timeout=3m")
	eventually(t, "what a run ran goes with it", func() error {
		for pod := range s.pods(t) {
			if strings.HasPrefix(pod, "before") {
				return fmt.Errorf("%s runs", pod)
			}
		}
		if err := s.admin.Get(t.Context(), key, run); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the run is there: %w", err)
		}
		return nil
	})
	s.kubectl(t, "carol", "delete", "gjob", "dev.upgrade.sleeper", "-n", instance, "--cascade=foreground", "--timeout=3m")
	s.kubectl(t, "carol", "delete", "namespace", instance, "metronome", "--timeout=3m")
}

// again installs over what an uninstallation kept, and asks for the CRDs to go, too.
func (s *site) again(t *testing.T, now version) {
	t.Helper()
	s.prepare(t)
	s.helm(t, append([]string{"install", release}, now.args(s, "--set", "crds.keep=false,replicas=1")...)...)
	s.kubectl(t, "carol", "wait", "grant", "dev-upgrade", "--for=condition=Ready", "--timeout=3m")
	s.helm(t, "uninstall", release, "--wait", "--timeout=5m")
	eventually(t, "the CRDs go", func() error {
		if got := s.kubectl(t, "carol", "get", "crd", "-o", "name"); strings.Contains(got, "grantry.dev") {
			return errors.New(got)
		}
		return nil
	})
	eventually(t, "nothing is left", func() error {
		if left := s.leftovers(t); len(left) > 0 {
			return fmt.Errorf("there is still %s", left)
		}
		return nil
	})
	if matches, err := filepath.Glob("charts/grantry/*.tgz"); err != nil || len(matches) > 0 {
		t.Errorf("Helm left %v in the chart: %v", matches, err)
	}
}
