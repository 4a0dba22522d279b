//go:build e2e

package flux

import (
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// TestFlux is the life of a repository, push by push.
func TestFlux(t *testing.T) {
	s := start(t)
	s.kustomizations(t)
	s.teamsWaitForThePlatform(t)
	s.everythingIsApplied(t)
	s.nothingIsAppliedTwice(t)
	s.handsAreUndone(t)
	s.windowsHoldUpNothing(t)
	s.teamsGrantThemselvesNothing(t)
	s.whatLeavesGitGoes(t)
	s.accountsNeedTheirGrantsToPrune(t)
	s.theRestGoes(t)
}

// A Grant of the platform that gives nothing to anybody fails at once, and the teams wait for it.
func (s *site) teamsWaitForThePlatform(t *testing.T) {
	t.Helper()
	const developers, nobody = "{kind: User, name: alice}, {kind: User, name: bob}", `{kind: User, name: " "}`
	s.repository.change(t, "platform/grants.yaml", developers, nobody)
	s.publish(t)
	t.Log(s.becomes(t, "platform", "False HealthCheckFailed", "Grant/developers", "Failed"))
	t.Log(s.becomes(t, "dev", "False DependencyNotReady", "flux-system/platform"))
	if s.grantry(t, "Job", "metronome", "dev.batch.job1") != nil {
		t.Error("dev's Job came before what it depends on")
	}
	s.repository.change(t, "platform/grants.yaml", nobody, developers)
}

// Each part is applied by its account, and each Job is whose Git says.
func (s *site) everythingIsApplied(t *testing.T) {
	t.Helper()
	s.publish(t)
	s.applied(t, "platform", "marketing", "dev")
	want := map[string]*v1alpha1.Subject{
		"dev.batch.job1":             {Kind: v1alpha1.UserSubject, Name: "alice"},
		"marketing.email.newsletter": {Kind: v1alpha1.GroupSubject, Name: "marketing"},
		"marketing.email.report":     {Kind: v1alpha1.GroupSubject, Name: "marketing"},
	}
	for name, owner := range want {
		if diff := cmp.Diff(owner, s.job(t, name).Spec.Owner); diff != "" {
			t.Errorf("the owner of %s (-want +got):\n%s", name, diff)
		}
	}
	for grant, by := range map[string]string{"dev-flux": account, "marketing-contractor": "system:serviceaccount:flux-system:marketing"} {
		got, _, _ := unstructured.NestedString(s.grantry(t, "Grant", "", grant).Object, "spec", "grantedBy", "username")
		if got != by {
			t.Errorf("Grant %s was written by %s, want %s", grant, got, by)
		}
	}
	// Alice's Job runs by alice's Grant, though she has never written it.
	harness.Eventually(t, waitFor, func() string {
		if grant := s.job(t, "dev.batch.job1").Status.Grant; grant != "developers" {
			return fmt.Sprintf("alice's Job may be launched; its Grant is %q", grant)
		}
		return ""
	})
}

// What Flux applies again is not written again, once the operator has said all that there is to say of it.
func (s *site) nothingIsAppliedTwice(t *testing.T) {
	t.Helper()
	harness.Eventually(t, waitFor, func() string {
		before := s.versions(t)
		s.appliedAgain(t, "platform", "marketing", "dev")
		return cmp.Diff(before, s.versions(t))
	})
}

// Who changes by hand what runs becomes the owner, until Flux applies again.
func (s *site) handsAreUndone(t *testing.T) {
	t.Helper()
	s.kubectl(t, "patch", "jobs.grantry.dev", "dev.batch.job1", "-n", "metronome", "--type=merge", "-p",
		`{"spec":{"run":{"cmd":"sleep 1"},"owner":{"kind":"User","name":"eve"}}}`)
	if owner := s.job(t, "dev.batch.job1").Spec.Owner.Name; owner == "alice" {
		t.Fatal("the change by hand was not made")
	}
	s.appliedAgain(t, "dev")
	if job := s.job(t, "dev.batch.job1"); job.Spec.Owner.Name != "alice" || job.Spec.Run.Cmd != "sleep 1000" {
		t.Errorf("the Job is %s's and runs %q", job.Spec.Owner.Name, job.Spec.Run.Cmd)
	}
}

// A Grant whose time has passed is as planned.
func (s *site) windowsHoldUpNothing(t *testing.T) {
	t.Helper()
	s.repository.write(t, "platform/grants.yaml", s.repository.read(t, "platform/grants.yaml")+`---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: past}
spec: {acl: dev, actions: [read], subjects: [{kind: User, name: dave}], expiresAt: "2026-01-01T00:00:00Z"}
`)
	s.publish(t)
	s.applied(t, "platform", "marketing", "dev")
}

// A team that grants itself something is told why not, and by nobody else's doing. The others go on.
func (s *site) teamsGrantThemselvesNothing(t *testing.T) {
	t.Helper()
	const grab = `apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: more}
spec: {acl: superuser, actions: [full], subjects: [{kind: Group, name: marketing}]}
`
	for team, refusal := range map[string]string{
		"marketing": `user system:serviceaccount:flux-system:marketing may not create Grant "more": it takes "full" on what ACL "superuser" protects`,
		"dev":       `User "system:serviceaccount:flux-system:dev" cannot patch resource "grants"`,
	} {
		list := filepath.Join("teams", team, "kustomization.yaml")
		before := s.repository.read(t, list)
		s.repository.change(t, list, "jobs.yaml", "more.yaml, jobs.yaml")
		s.repository.write(t, filepath.Join("teams", team, "more.yaml"), grab)
		s.publish(t)
		s.applied(t, "platform")
		t.Log(s.becomes(t, team, "False ReconciliationFailed", refusal))
		if s.grantry(t, "Grant", "", "more") != nil {
			t.Fatalf("%s has granted itself everything", team)
		}
		s.repository.write(t, list, before)
	}
	s.publish(t)
	s.applied(t, "platform", "marketing", "dev")
}

// What is removed from a directory is deleted, and nothing else.
func (s *site) whatLeavesGitGoes(t *testing.T) {
	t.Helper()
	before := s.versions(t)
	s.repository.without(t, "teams/marketing/jobs.yaml", "name: marketing.email.report")
	s.publish(t)
	s.applied(t, "marketing")
	harness.Eventually(t, waitFor, func() string {
		if s.grantry(t, "Job", "metronome", "marketing.email.report") != nil {
			return "the Job goes"
		}
		return ""
	})
	maps.DeleteFunc(before, func(name, _ string) bool { return name == "Job marketing.email.report" })
	after := s.versions(t)
	for name := range before {
		if after[name] == "" {
			t.Errorf("%s went, too", name)
		}
	}
}

// In the wrong order: without its Grant, a team's account can't delete the team's Jobs, and says so until it can.
func (s *site) accountsNeedTheirGrantsToPrune(t *testing.T) {
	t.Helper()
	grants := s.repository.read(t, "platform/grants.yaml")
	s.repository.without(t, "platform/grants.yaml", "name: dev-flux")
	s.publish(t)
	s.applied(t, "platform")
	harness.Eventually(t, waitFor, func() string {
		if s.grantry(t, "Grant", "", "dev-flux") != nil {
			return "the Grant goes"
		}
		return ""
	})
	s.remove(t, "dev")
	harness.Eventually(t, waitFor, func() string {
		if !s.flux.Logged(t, "system:serviceaccount:flux-system:dev", "may not", "delete", "dev.batch.job1") {
			return "Flux says that it may not delete the Job"
		}
		return ""
	})
	if s.grantry(t, "Job", "metronome", "dev.batch.job1") == nil {
		t.Error("the Job is gone all the same")
	}
	s.repository.write(t, "platform/grants.yaml", grants)
	s.publish(t)
	s.isGone(t, "dev", "Job metronome/dev.batch.job1")
	s.applied(t, "platform")
}

// In the right order: teams, then the platform; who may grant everything stays.
func (s *site) theRestGoes(t *testing.T) {
	t.Helper()
	s.remove(t, "marketing")
	s.isGone(t, "marketing", "Job metronome/marketing.email.newsletter", "Grant /marketing-contractor")
	s.remove(t, "platform")
	s.isGone(t, "platform", "Grant /marketing-flux", "Grant /developers", "ACL /dev", "Group /marketing")
	for kind, name := range map[string]string{"ACL": "superuser", "Grant": "superuser"} {
		if s.grantry(t, kind, "", name) == nil {
			t.Errorf("the %s %s is gone", kind, name)
		}
	}
}
