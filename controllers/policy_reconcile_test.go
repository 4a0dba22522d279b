package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// fakePolicyClient is a client without an API server, for errors that a real one does not make.
func fakePolicyClient(funcs interceptor.Funcs, objs ...client.Object) client.Client {
	b := fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithObjects(objs...).
		WithStatusSubresource(&v1alpha1.ACL{}, &v1alpha1.Grant{}, &v1alpha1.Group{}).WithInterceptorFuncs(funcs)
	for _, f := range index.Fields() {
		b = b.WithIndex(f.Object, f.Name, f.Values)
	}
	return b.Build()
}

// policyReconcilers are the three, over one client, with nobody to ask about.
func policyReconcilers(c client.Client) map[string]reconcile.Reconciler {
	return propagatingReconcilers(c, nil)
}

// propagatingReconcilers have one propagation, as their objects have different names.
func propagatingReconcilers(c client.Client, p *propagation) map[string]reconcile.Reconciler {
	clk := clocktesting.NewFakePassiveClock(policyNoon)
	return map[string]reconcile.Reconciler{
		"acl":   &ACLReconciler{Client: c, Clock: clk, Store: policystore.New(nil, clocktesting.NewFakeClock(policyNoon)), propagation: p},
		"grant": &GrantReconciler{Client: c, Clock: clk, propagation: p},
		"group": &GroupReconciler{Client: c, Clock: clk, propagation: p},
	}
}

// policyObjects are one of each kind, with the names of policyReconcilers.
func policyObjects() []client.Object {
	return []client.Object{
		makeACL("acl", "dcos:adminrouter:acs"), makeGrant("grant", "acl", "alice", v1alpha1.ActionFull), makeGroup("group", "alice"),
	}
}

func request(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Name: name}}
}

func TestPolicyReconcilers_returnWhatTheAPIRefuses(t *testing.T) {
	t.Parallel()
	refused := errors.New("the API server is on fire")
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "x"}, "x", errors.New("changed"))
	cases := map[string]struct {
		funcs     interceptor.Funcs
		want      error
		wantAfter time.Duration
	}{
		"a read": {
			funcs: interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return refused
			}},
			want: refused,
		},
		"a status write, for a conflict: that is no error, and looked at again": {
			funcs: interceptor.Funcs{SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
				return conflict
			}},
			wantAfter: conflictRetry,
		},
		"a status write, for the object is gone: that is no error": {
			funcs: interceptor.Funcs{SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
				return apierrors.NewNotFound(schema.GroupResource{Resource: "x"}, "x")
			}},
		},
	}
	for name, tc := range cases {
		for kind, r := range policyReconcilers(fakePolicyClient(tc.funcs, policyObjects()...)) {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				got, err := r.Reconcile(t.Context(), request(kind))
				if !errors.Is(err, tc.want) {
					t.Errorf("Reconcile() = %v, want %v", err, tc.want)
				}
				if got.RequeueAfter != tc.wantAfter {
					t.Errorf("Reconcile() comes back after %v, want %v", got.RequeueAfter, tc.wantAfter)
				}
				if errors.Is(err, reconcile.TerminalError(nil)) {
					t.Error("the error would never be retried")
				}
			})
		}
	}
}

func TestPolicyReconcilers_leaveAloneWhatIsGone(t *testing.T) {
	t.Parallel()
	untouched := interceptor.Funcs{SubResourcePatch: func(_ context.Context, _ client.Client, _ string, obj client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
		return errors.New("the status of " + obj.GetName() + " was written")
	}}
	for kind, r := range policyReconcilers(fakePolicyClient(untouched)) {
		t.Run("no object, "+kind, func(t *testing.T) {
			t.Parallel()
			if _, err := r.Reconcile(t.Context(), request(kind)); err != nil {
				t.Errorf("Reconcile() = %v", err)
			}
		})
	}
	deleting := policyObjects()
	for _, obj := range deleting {
		obj.SetFinalizers([]string{"example.com/hold"})
		obj.SetDeletionTimestamp(at(0))
	}
	for kind, r := range policyReconcilers(fakePolicyClient(untouched, deleting...)) {
		t.Run("being deleted, "+kind, func(t *testing.T) {
			t.Parallel()
			if _, err := r.Reconcile(t.Context(), request(kind)); err != nil {
				t.Errorf("Reconcile() = %v", err)
			}
		})
	}
}

// TestPolicyReconcilers_forgetWhatIsGone: who creates and deletes in a loop fills no memory, and takes no turns.
func TestPolicyReconcilers_forgetWhatIsGone(t *testing.T) {
	t.Parallel()
	for name, finalizers := range map[string][]string{"gone": nil, "held by a finalizer": {"example.com/hold"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs := policyObjects()
			for _, obj := range objs {
				obj.SetFinalizers(finalizers)
			}
			c := fakePolicyClient(interceptor.Funcs{}, objs...)
			p := newPropagation(&upTo{}, "grant", clocktesting.NewFakePassiveClock(policyNoon))
			reconcilers := propagatingReconcilers(c, p)
			reconcileAll := func(want int) {
				for kind, r := range reconcilers {
					if _, err := r.Reconcile(t.Context(), request(kind)); err != nil {
						t.Errorf("%s: %v", kind, err)
					}
				}
				if len(p.waiting) != want {
					t.Errorf("%d wait, want %d", len(p.waiting), want)
				}
			}
			reconcileAll(len(objs))
			for _, obj := range objs {
				if err := c.Delete(t.Context(), obj); err != nil {
					t.Fatal(err)
				}
			}
			reconcileAll(0)
		})
	}
}

func TestGrantReconciler_aFailedReadOfTheACLChangesNothing(t *testing.T) {
	t.Parallel()
	refused := errors.New("the API server is on fire")
	c := fakePolicyClient(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, isACL := obj.(*v1alpha1.ACL); isACL {
				return refused
			}
			return c.Get(ctx, key, obj, opts...)
		},
	}, policyObjects()...)
	if _, err := policyReconcilers(c)["grant"].Reconcile(t.Context(), request("grant")); !errors.Is(err, refused) {
		t.Errorf("Reconcile() = %v, want %v", err, refused)
	}
	grant := &v1alpha1.Grant{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "grant"}, grant); err != nil {
		t.Fatal(err)
	}
	if len(grant.Status.Conditions) != 0 {
		t.Errorf("the status was written: %+v", grant.Status)
	}
}

func TestGrantReconciler_comesBackAtTheEdge(t *testing.T) {
	t.Parallel()
	grant := makeGrant("grant", "acl", "alice", v1alpha1.ActionFull)
	grant.Spec.NotBefore, grant.Spec.ExpiresAt = at(-time.Minute), at(90*time.Minute)
	r := policyReconcilers(fakePolicyClient(interceptor.Funcs{}, makeACL("acl", "dcos:adminrouter:acs"), grant))["grant"]
	for _, look := range []string{"first", "second: nothing is written"} {
		got, err := r.Reconcile(t.Context(), request("grant"))
		if diff := cmp.Diff(ctrl.Result{RequeueAfter: 90 * time.Minute}, got); err != nil || diff != "" {
			t.Errorf("%s look: error %v, result (-want +got):\n%s", look, err, diff)
		}
	}
}

func TestGrantReconciler_grantsOf(t *testing.T) {
	t.Parallel()
	acl := makeACL("acl", "dcos:adminrouter:acs")
	grants := []client.Object{
		makeGrant("a", "acl", "alice", v1alpha1.ActionFull), makeGrant("b", "acl", "bob", v1alpha1.ActionFull),
		makeGrant("other", "acl2", "alice", v1alpha1.ActionFull),
	}
	r := &GrantReconciler{Client: fakePolicyClient(interceptor.Funcs{}, grants...)}
	got := r.grantsOf(t.Context(), acl)
	slices.SortFunc(got, func(a, b ctrl.Request) int { return len(a.Name) - len(b.Name) })
	if diff := cmp.Diff([]ctrl.Request{request("a"), request("b")}, got); diff != "" {
		t.Errorf("grantsOf() (-want +got):\n%s", diff)
	}

	failing := &GrantReconciler{Client: fakePolicyClient(interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("no list")
		},
	}, grants...)}
	if got := failing.grantsOf(t.Context(), acl); got != nil {
		t.Errorf("grantsOf() = %v, want nothing", got)
	}
}
