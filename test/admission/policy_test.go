package admission

import (
	"context"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/controllers"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/webhook/admission"
)

// addPolicy makes the store count what admission let in, as the operator does, and runs the controllers if
// they are wanted.
func (w *world) addPolicy(t *testing.T, mgr ctrl.Manager, o options) policystore.Rule {
	t.Helper()
	g := NewWithT(t)
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: grantrytesting.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	key, err := admission.LoadKey(t.Context(), direct, types.NamespacedName{Namespace: "grantry-system", Name: w.secret})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(index.Register(t.Context(), mgr.GetFieldIndexer())).To(Succeed())
	if o.controllers {
		w.store.Rule = policystore.Rule{Admission: true, Key: key}
		g.Expect(controllers.SetupAll(mgr, w.store, controllers.Settings{Mode: o.mode, JobWorkers: 2, RunWorkers: 2})).To(Succeed())
	}
	return w.store.Rule
}

// register makes the API server call the webhooks; unregister lets it forget them, as somebody would who has to
// go on without the operator.
func (w *world) register(t *testing.T) {
	t.Helper()
	for _, configuration := range w.configurations {
		configuration.SetResourceVersion("")
		NewWithT(t).Expect(w.admin.Create(t.Context(), configuration)).To(Succeed())
	}
}

// apply creates what a file below config holds.
func (w *world) apply(t *testing.T, file string) {
	t.Helper()
	for _, object := range grantrytesting.Shipped(t, file) {
		if err := w.admin.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

// policyVerbs is what a tenant has by RBAC who may write the policy at all.
var policyVerbs = rbacv1.PolicyRule{
	APIGroups: []string{"grantry.dev"}, Resources: []string{"acls", "grants", "groups"},
	Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
}

// tenant is a client of a user who may write the policy by RBAC.
func (w *world) tenant(t *testing.T, name string, more ...rbacv1.PolicyRule) *person {
	t.Helper()
	w.role(t, name, append(more, policyVerbs)...)
	p := w.person(t, name)
	NewWithT(t).Eventually(func() error { return p.List(t.Context(), &v1alpha1.GrantList{}) }).WithTimeout(waitFor).
		Should(Succeed(), "RBAC knows "+name)
	return p
}

// person is a user with what the API server warned of last.
type person struct {
	client.Client
	mu     sync.Mutex
	warned []string
}

// HandleWarningHeaderWithContext keeps a warning.
func (p *person) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warned = append(p.warned, text)
}

// warnings are those since the last call.
func (p *person) warnings() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	warned := p.warned
	p.warned = nil
	return warned
}

func (w *world) person(t *testing.T, name string, groups ...string) *person {
	t.Helper()
	p := &person{}
	config := w.config(t, name, groups...)
	config.WarningHandlerWithContext = p
	c, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	p.Client = c
	return p
}

const allJobs = "dcos:service:metronome:" + space + ":jobs:"

func newACL(name, resource string) *v1alpha1.ACL {
	return &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ACLSpec{Resource: resource}}
}

func newGrant(name, acl, user string, actions ...v1alpha1.Action) *v1alpha1.Grant {
	return &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GrantSpec{
		ACL: acl, Actions: actions, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
	}}
}

func newGroup(name string, users ...string) *v1alpha1.Group {
	group := &v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, user := range users {
		group.Spec.Members = append(group.Spec.Members, v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: user})
	}
	return group
}

func expiring(g *v1alpha1.Grant, after time.Duration) *v1alpha1.Grant {
	end := metav1.NewTime(time.Now().Add(after).Truncate(time.Second))
	g.Spec.ExpiresAt = &end
	return g
}

// may asks the policy that the operator serves.
func (w *world) may(user, job string, action permission.Actions) func() bool {
	return func() bool {
		return w.store.Snapshot().Decide(effective.Query{
			User: effective.UserSubject(user), Resource: permission.JobResource(space, job), AnyOf: action, At: time.Now(),
		}).Allowed
	}
}

// condition reads an object anew and returns "reason: message" of a condition, or nothing, once the operator
// has looked at its present state.
func (w *world) condition(t *testing.T, object client.Object, kind string) func() string {
	t.Helper()
	return func() string {
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		c := grantrytesting.Condition(t, object, kind)
		if c == nil || c.ObservedGeneration != object.GetGeneration() {
			return ""
		}
		return c.Reason + ": " + c.Message
	}
}
