//go:build e2e

package install

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/grantry/grantry/test/harness"
)

// TestStrict installs the chart in mode strict, where Grantry is asked before RBAC: a cluster-admin gets nothing of what is
// guarded without a Grant, everything else is RBAC's, and a launch takes the permission for the task, too.
func TestStrict(t *testing.T) {
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	s := up(t)
	now := version{harness.ChartPath, "test/install/values.yaml", "strict"}
	s.image(t, root, now.tag)
	s.prepare(t)
	notes := s.helm(t, append([]string{"install", release}, now.args(s, "--set", "mode=strict,replicas=2")...)...)
	shipped, err := os.ReadFile("config/authorization/strict.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(notes, strings.TrimSpace(string(shipped))) {
		t.Errorf("the notes don't have the API server's configuration for mode strict:\n%s", notes)
	}
	if err := s.SetModeAt(t.Context(), "strict", s.address+":443"); err != nil {
		t.Fatal(err)
	}

	s.kubectl(t, "carol", "create", "namespace", instance) // RBAC's, as ever
	s.refused(t, "carol", `may not "full" on dcos:adminrouter:acs`, "get", "grants")
	s.refused(t, "carol", `user carol may not "read" on jobs dev.upgrade.sleeper`, "get", "gjob", "dev.upgrade.sleeper", "-n", instance)
	// Members of system:masters are not asked about: they write the first Grants.
	s.apply(t, "admin", alicesPolicy)
	eventually(t, "alice creates a Job", func() error {
		if out, err := s.KubectlStdin(t.Context(), "alice", strictJob, "create", "-f", "-"); err != nil {
			return errors.New(out)
		}
		return nil
	})
	s.refused(t, "carol", `user carol may not "delete" on jobs dev.upgrade.sleeper`, "delete", "gjob", "dev.upgrade.sleeper", "-n", instance)
	s.refused(t, "bob", `user bob may not "read" on jobs dev.upgrade.sleeper`, "get", "gjob", "dev.upgrade.sleeper", "-n", instance)

	s.createRun(t, "strict")
	s.shows(t, "the run waits for the permission for its task", "dcos:mesos:master:task:app_id:/upgrades/dev/upgrade/sleeper",
		"get", "jrun", "strict", "-n", instance, "-o", `jsonpath={.status.conditions[?(@.type=="Authorized")].message}`)
	s.apply(t, "admin", strictTask)
	s.podRuns(t, "strict")
	s.inOrder(t)
}

const (
	strictJob = `
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: dev.upgrade.sleeper, namespace: upgrades}
spec: {startPolicy: OnDemand, run: {cmd: "sleep 100000", cpus: 0.01, mem: 32, disk: 0}}
`
	strictTask = `
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: dev-upgrade-task}
spec: {resource: "dcos:mesos:master:task:app_id:/upgrades/dev/upgrade"}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: dev-upgrade-task}
spec: {acl: dev-upgrade-task, subjects: [{kind: User, name: alice}], actions: [create]}
`
)

// refused wants kubectl to fail with words of the API server's.
func (s *site) refused(t *testing.T, user, words string, args ...string) {
	t.Helper()
	if out, err := s.KubectlPatiently(t.Context(), patience, user, "", args...); err == nil || !strings.Contains(out, words) {
		t.Errorf("kubectl %s as %s: %v: %s: wanted a refusal with %q", strings.Join(args, " "), user, err, out, words)
	}
}

// shows waits until what kubectl prints for an administrator has words in it.
func (s *site) shows(t *testing.T, what, words string, args ...string) {
	t.Helper()
	eventually(t, what, func() error {
		if out := s.kubectl(t, "admin", args...); !strings.Contains(out, words) {
			return fmt.Errorf("it shows %q", out)
		}
		return nil
	})
}
