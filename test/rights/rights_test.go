// Package rights holds what the operator's account may do on a real API server against the roles in config/rbac: that
// much, and no more.
package rights

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

const (
	operator = "system:serviceaccount:grantry-system:grantry"
	unbound  = "system:serviceaccount:grantry-system:unbound" // an account that nobody gave anything
	own      = "grantry-system"
	another  = "metronome"
)

var (
	groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + own, "system:authenticated"}
	server *grantrytesting.APIServer
)

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &server)) }

// install applies config/rbac once, and returns the rules of the roles that are bound to the operator: those of the
// whole cluster and those of its own namespace.
func install(t *testing.T) (everywhere, inOwn []rbacv1.PolicyRule) {
	t.Helper()
	admin := server.Client(t)
	for _, name := range []string{own, another} {
		if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	for _, object := range grantrytesting.Shipped(t, "rbac/*.yaml") {
		if err := admin.Create(t.Context(), object); client.IgnoreAlreadyExists(err) != nil {
			t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	return rulesOf(t, admin)
}

func rulesOf(t *testing.T, admin client.Client) (everywhere, inOwn []rbacv1.PolicyRule) {
	t.Helper()
	clusterBindings, bindings := &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}
	if err := errors.Join(admin.List(t.Context(), clusterBindings), admin.List(t.Context(), bindings)); err != nil {
		t.Fatal(err)
	}
	isOperator := func(s rbacv1.Subject) bool { return s.Name == "grantry" && s.Namespace == own }
	for _, binding := range clusterBindings.Items {
		if slices.ContainsFunc(binding.Subjects, isOperator) {
			role := &rbacv1.ClusterRole{}
			if err := admin.Get(t.Context(), types.NamespacedName{Name: binding.RoleRef.Name}, role); err != nil {
				t.Fatal(err)
			}
			everywhere = append(everywhere, role.Rules...)
		}
	}
	for _, binding := range bindings.Items {
		if slices.ContainsFunc(binding.Subjects, isOperator) {
			role := &rbacv1.Role{}
			if err := admin.Get(t.Context(), types.NamespacedName{Namespace: binding.Namespace, Name: binding.RoleRef.Name}, role); err != nil || binding.Namespace != own {
				t.Fatalf("a binding in %s: %v", binding.Namespace, err)
			}
			inOwn = append(inOwn, role.Rules...)
		}
	}
	if len(everywhere) == 0 || len(inOwn) == 0 {
		t.Fatal("the operator is bound to nothing")
	}
	return everywhere, inOwn
}

// TestRights_areTheRoles asks the API server about each verb on each of its resources, without a name, in the operator's
// namespace and in another one. The operator may what its roles say, and what Kubernetes lets every service account do.
func TestRights_areTheRoles(t *testing.T) {
	everywhere, inOwn := install(t)
	config, admin := server.Require(t), server.Client(t)
	config.QPS = -1
	_, found, err := discovery.NewDiscoveryClientForConfigOrDie(config).ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	asked, allowed, seen := 0, 0, map[string]bool{}
	for _, list := range found {
		group, _, isGroup := strings.Cut(list.GroupVersion, "/")
		if !isGroup {
			group = ""
		}
		for _, resource := range list.APIResources {
			if seen[group+"/"+resource.Name] {
				continue // in another version
			}
			seen[group+"/"+resource.Name] = true
			for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "escalate", "bind", "approve"} {
				for _, namespace := range []string{own, another} {
					rules := everywhere
					if namespace == own {
						rules = slices.Concat(everywhere, inOwn)
					}
					want := gives(rules, group, resource.Name, verb) || may(t, admin, unbound, group, resource.Name, verb, namespace)
					got := may(t, admin, operator, group, resource.Name, verb, namespace)
					if got != want {
						t.Errorf("%s %s of the group %q in %s: allowed %t, the roles say %t", verb, resource.Name, group, namespace, got, want)
					}
					asked++
					if got {
						allowed++
					}
				}
			}
		}
	}
	if asked < 1000 || allowed < 50 {
		t.Errorf("only %d questions, %d of them allowed: is that all?", asked, allowed)
	}
}

// gives says whether rules without wildcards allow something without a name.
func gives(rules []rbacv1.PolicyRule, group, resource, verb string) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return len(r.ResourceNames) == 0 && slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb)
	})
}

func may(t *testing.T, admin client.Client, account, group, resource, verb, namespace string) bool {
	t.Helper()
	name, subresource, _ := strings.Cut(resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, Groups: groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: group, Resource: name, Subresource: subresource, Verb: verb, Namespace: namespace},
	}}
	if err := admin.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// TestRights_refuseTheRest sends, as the operator, what somebody would who had got hold of its account.
func TestRights_refuseTheRest(t *testing.T) {
	install(t)
	config := server.Require(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: operator, Groups: groups}
	c, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	named := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	get := func(object client.Object) error {
		return c.Get(t.Context(), client.ObjectKeyFromObject(object), object)
	}
	create := func(object client.Object) error { return c.Create(t.Context(), object, client.DryRunAll) }
	change := func(object client.Object) error {
		return c.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"labels": {"a": "b"}}}`)), client.DryRunAll)
	}
	remove := func(object client.Object) error { return c.Delete(t.Context(), object, client.DryRunAll) }
	configuration := func(name string) client.Object {
		object := &unstructured.Unstructured{}
		object.SetAPIVersion("admissionregistration.k8s.io/v1")
		object.SetKind("ValidatingWebhookConfiguration")
		object.SetName(name)
		return object
	}
	for name, err := range map[string]error{
		"becoming cluster-admin":                create(&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "mine"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}}),
		"widening its role":                     change(&rbacv1.ClusterRole{ObjectMeta: named("", "grantry")}),
		"reading a Secret of another namespace": get(&corev1.Secret{ObjectMeta: named(another, "x")}),
		"reading the Secrets of all":            c.List(t.Context(), &corev1.SecretList{}),
		"changing another Secret of its own":    c.Update(t.Context(), &corev1.Secret{ObjectMeta: named(own, "grantry-authorization")}, client.DryRunAll),
		"creating a Secret in its own":          create(&corev1.Secret{ObjectMeta: named(own, "x")}),
		"creating a pod":                        create(&corev1.Pod{ObjectMeta: named(another, "x"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}),
		"deleting a pod":                        remove(&corev1.Pod{ObjectMeta: named(another, "x")}),
		"reading a node":                        get(&corev1.Node{ObjectMeta: named("", "x")}),
		"writing an ACL":                        create(&v1alpha1.ACL{ObjectMeta: named("", "x"), Spec: v1alpha1.ACLSpec{Resource: "dcos:superuser"}}),
		"writing a Grant":                       create(&v1alpha1.Grant{ObjectMeta: named("", "x"), Spec: v1alpha1.GrantSpec{ACL: "x", Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "x"}}, Actions: []v1alpha1.Action{v1alpha1.ActionFull}}}),
		"deleting a Grant":                      remove(&v1alpha1.Grant{ObjectMeta: named("", "x")}),
		"deleting a Job":                        remove(&v1alpha1.Job{ObjectMeta: named(another, "x")}),
		"a lease of another namespace":          create(&coordinationv1.Lease{ObjectMeta: named(another, "x")}),
		"another's webhook configuration":       change(configuration("another")),
		"unregistering its own webhooks":        remove(configuration("grantry")),
		"leaving out its admission policies":    remove(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": map[string]any{"name": "grantry-pods"}}}),
		"changing a CustomResourceDefinition":   change(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "jobs.grantry.dev"}}}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if may(t, server.Client(t), operator, "", "users", "impersonate", "") {
		t.Error("it may be somebody else")
	}
	// The same client can do its work.
	for name, err := range map[string]error{
		"reading Grants":             c.List(t.Context(), &v1alpha1.GrantList{}),
		"reading its own Secrets":    c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(own)),
		"filling in its Secret":      client.IgnoreNotFound(c.Update(t.Context(), &corev1.Secret{ObjectMeta: named(own, "grantry-admission")}, client.DryRunAll)),
		"a lease of its own":         create(&coordinationv1.Lease{ObjectMeta: named(own, "x")}),
		"its own configuration":      client.IgnoreNotFound(change(configuration("grantry"))),
		"reading what it decides on": c.List(t.Context(), &v1alpha1.JobRunList{}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
