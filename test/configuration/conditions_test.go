// Package configuration proves that the AuthorizationConfigurations that are shipped ask Grantry about what it
// guards, and about nothing else. It evaluates them with the API server's own library.
package configuration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// read returns a shipped configuration.
func read(t *testing.T, mode string) *apiserverv1.AuthorizationConfiguration {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "authorization", mode+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := &apiserverv1.AuthorizationConfiguration{}
	if err := yaml.UnmarshalStrict(content, config); err != nil {
		t.Fatal(err)
	}
	return config
}

// webhookOf returns the entry of Grantry.
func webhookOf(t *testing.T, mode string) *apiserverv1.WebhookConfiguration {
	t.Helper()
	for _, a := range read(t, mode).Authorizers {
		if a.Name == "grantry" {
			return a.Webhook
		}
	}
	t.Fatalf("%s has no authorizer grantry", mode)
	return nil
}

// matcher is what decides in the API server whether Grantry is asked.
func matcher(t *testing.T, mode string) *cel.CELMatcher {
	t.Helper()
	compiler := cel.NewDefaultCompiler()
	m := &cel.CELMatcher{}
	for _, condition := range webhookOf(t, mode).MatchConditions {
		result, err := compiler.CompileCELExpression(&cel.SubjectAccessReviewMatchCondition{Expression: condition.Expression})
		if err != nil {
			t.Fatalf("%s: %v", condition.Expression, err)
		}
		m.CompilationResults = append(m.CompilationResults, result)
	}
	return m
}

// asks reports whether the API server asks Grantry.
func asks(t *testing.T, m *cel.CELMatcher, spec authorizationv1.SubjectAccessReviewSpec) bool {
	t.Helper()
	asked, err := m.Eval(t.Context(), &authorizationv1.SubjectAccessReview{Spec: spec})
	if err != nil {
		t.Fatalf("%+v: %v", spec, err) // in strict mode it would be refused
	}
	return asked
}

func TestConfigurations_differOnlyWhereTheModesDo(t *testing.T) {
	t.Parallel()
	permissive, strict := webhookOf(t, "permissive"), webhookOf(t, "strict")
	if permissive.FailurePolicy != apiserverv1.FailurePolicyNoOpinion || strict.FailurePolicy != apiserverv1.FailurePolicyDeny {
		t.Errorf("failure policies %s and %s", permissive.FailurePolicy, strict.FailurePolicy)
	}
	permissive.FailurePolicy = strict.FailurePolicy
	if diff := cmp.Diff(strict, permissive); diff != "" {
		t.Errorf("(-strict +permissive)\n%s", diff)
	}
	if strict.CacheAuthorizedRequests == nil || *strict.CacheAuthorizedRequests || strict.CacheUnauthorizedRequests == nil || *strict.CacheUnauthorizedRequests {
		t.Error("answers are kept")
	}
	for mode, want := range map[string]string{"disabled": "node rbac", "permissive": "node rbac grantry", "strict": "grantry node rbac"} {
		var names []string
		for _, a := range read(t, mode).Authorizers {
			names = append(names, a.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s asks %s, want %s", mode, got, want)
		}
	}
}

// everywhere finds a Job for whatever is asked, so that what the authorizer guards at all is guarded.
type everywhere struct{}

func (everywhere) JobOfRun(context.Context, string, string) (string, error) { return "dev", nil }
func (everywhere) JobOfPod(context.Context, string, string) (string, error) { return "dev", nil }
func (everywhere) HoldsJobs(context.Context, string) (bool, error)          { return true, nil }

// notLoaded has no policy, so that what is guarded is denied.
type notLoaded struct{}

func (notLoaded) Snapshot() *effective.Snapshot { return nil }

func (notLoaded) Unavailable() error { return errors.New("nothing is known") }

// TestConditions_askWhatIsGuarded holds the conditions against the authorizer, for every request there could be.
func TestConditions_askWhatIsGuarded(t *testing.T) {
	t.Parallel()
	guard := &authorizer.Authorizer{Policy: notLoaded{}, Lookup: everywhere{}, Clock: clock.RealClock{}, Mode: permission.ModeStrict}
	m := matcher(t, "strict")
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*", "bind", "impersonate", "proxy", ""}
	subresources := []string{"", "status", "log", "exec", "attach", "portforward", "ephemeralcontainers", "proxy", "eviction", "binding", "resize", "scale", "*"}
	asked, skipped := 0, 0
	for _, resource := range []struct{ group, name string }{
		{"grantry.dev", "jobs"},
		{"grantry.dev", "jobruns"},
		{"grantry.dev", "acls"},
		{"grantry.dev", "grants"},
		{"grantry.dev", "groups"},
		{"grantry.dev", "new"},
		{"", "pods"},
		{"", "secrets"},
		{"", "nodes"},
		{"batch", "jobs"},
		{"apps", "pods"},
		{"metrics.k8s.io", "pods"},
		{"grantry.dev.example.org", "jobs"},
		{"*", "*"},
	} {
		for _, verb := range verbs {
			for _, subresource := range subresources {
				for _, name := range []string{"", "x"} {
					attributes := authorizationv1.ResourceAttributes{
						Verb: verb, Group: resource.group, Resource: resource.name, Subresource: subresource, Namespace: "metronome", Name: name,
					}
					got := asks(t, m, authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: &attributes})
					guarded := guard.Authorize(t.Context(), &authorizer.Request{
						User: "alice", Verb: verb, Group: resource.group, Resource: resource.name, Subresource: subresource, Namespace: "metronome", Name: name,
					}).Verdict == authorizer.Deny
					if got != guarded && (guarded || resource.group != "grantry.dev") { // all of our own group is asked
						t.Errorf("asked: %t, guarded: %t: %+v", got, guarded, attributes)
					}
					if got {
						asked++
					} else {
						skipped++
					}
				}
			}
		}
	}
	if asked == 0 || skipped == 0 {
		t.Errorf("asked about %d requests, and not about %d", asked, skipped)
	}
}

// TestConditions_exemptIdentities: who looks like an exempt identity is not one.
func TestConditions_exemptIdentities(t *testing.T) {
	t.Parallel()
	m := matcher(t, "strict")
	for _, tc := range []struct {
		user   string
		groups string
		asked  bool
	}{
		{"system:serviceaccount:grantry-system:grantry", "system:serviceaccounts system:serviceaccounts:grantry-system system:authenticated", false},
		{"system:serviceaccount:grantry-system:grantry2", "system:serviceaccounts system:serviceaccounts:grantry-system", true},
		{"system:serviceaccount:grantry-system:default", "system:serviceaccounts system:serviceaccounts:grantry-system", true},
		{"system:kube-controller-manager", "system:authenticated", false},
		{"system:kube-scheduler", "system:authenticated", false},
		{"system:kube-scheduler2", "system:authenticated", true},
		{"system:serviceaccount:kube-system:generic-garbage-collector", "system:serviceaccounts system:serviceaccounts:kube-system", false},
		{"system:serviceaccount:kube-system:namespace-controller", "system:serviceaccounts system:serviceaccounts:kube-system", false},
		{"system:serviceaccount:kube-system:job-controller", "system:serviceaccounts system:serviceaccounts:kube-system", false},
		{"system:serviceaccount:kube-system:x", "system:serviceaccounts", true},
		{"system:serviceaccount:kube-system-of-tenant:x", "system:serviceaccounts system:serviceaccounts:kube-system-of-tenant", true},
		{"system:serviceaccount:default:kube-system", "system:serviceaccounts system:serviceaccounts:default", true},
		{"alice", "system:serviceaccounts:kube-system", true},
		{"system:node:n1", "system:nodes system:authenticated", false},
		{"system:node:n1", "system:authenticated", true},
		{"alice", "system:nodes", true},
		{"system:apiserver", "system:authenticated", true}, // the API server's own is in system:masters, which is never asked about
		{"system:anonymous", "system:unauthenticated", true},
		{"alice", "", true},
		{"", "", true},
	} {
		attributes := &authorizationv1.ResourceAttributes{Verb: "get", Group: "grantry.dev", Resource: "grants", Name: "g"}
		if got := asks(t, m, authorizationv1.SubjectAccessReviewSpec{User: tc.user, Groups: strings.Fields(tc.groups), ResourceAttributes: attributes}); got != tc.asked {
			t.Errorf("user %q in %q: asked: %t", tc.user, tc.groups, got)
		}
	}
}

// TestConditions_namespaces: pods of two namespaces are left to RBAC, Jobs of none.
func TestConditions_namespaces(t *testing.T) {
	t.Parallel()
	m := matcher(t, "strict")
	for namespace, asked := range map[string]bool{"kube-system": false, "grantry-system": false, "": true, "metronome": true, "kube-system2": true} {
		for resource, want := range map[string]bool{"pods": asked, "jobs": true} {
			attributes := &authorizationv1.ResourceAttributes{Verb: "list", Resource: resource, Namespace: namespace}
			if resource == "jobs" {
				attributes.Group = "grantry.dev"
			}
			if got := asks(t, m, authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: attributes}); got != want {
				t.Errorf("list %s in %q: asked: %t", resource, namespace, got)
			}
		}
	}
	path := authorizationv1.SubjectAccessReviewSpec{User: "alice", NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/healthz", Verb: "get"}}
	if asks(t, m, path) {
		t.Error("Grantry is asked about paths")
	}
}
