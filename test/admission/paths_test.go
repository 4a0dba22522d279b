package admission

import (
	"context"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

// path is one way to write. It is handed a Job or a run that is there, unless it creates.
type path struct {
	name    string
	creates bool
	// patchesNothing: to the authorizer it is the patch of an object that there isn't. Of a run it can't tell
	// the Job then.
	patchesNothing bool
	do             func(ctx context.Context, c client.Client, object client.Object) error
}

// applied is the object as server-side apply takes it.
func applied(c client.Client, object client.Object, annotation string) (*unstructured.Unstructured, error) {
	gvk, err := c.GroupVersionKindFor(object)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind,
		"metadata": map[string]any{"name": object.GetName(), "namespace": object.GetNamespace()},
		"spec":     map[string]any{"run": map[string]any{"cmd": "true"}},
	}}
	if gvk.Kind == "JobRun" {
		u.Object["spec"] = map[string]any{"job": object.(*v1alpha1.JobRun).Spec.Job}
	}
	if annotation != "" {
		u.SetAnnotations(map[string]string{annotation: ""})
	}
	return u, nil
}

func apply(ctx context.Context, c client.Client, object client.Object, annotation string, options ...client.ApplyOption) error {
	u, err := applied(c, object, annotation)
	if err != nil {
		return err
	}
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), append(options, client.FieldOwner("test"), client.ForceOwnership)...)
}

func merge(ctx context.Context, c client.Client, object client.Object, patch string) error {
	return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// paths are the ways that lead to an object of either kind.
var paths = []path{
	{name: "POST", creates: true, do: func(ctx context.Context, c client.Client, o client.Object) error { return c.Create(ctx, o) }},
	{name: "POST, dry run", creates: true, do: func(ctx context.Context, c client.Client, o client.Object) error {
		return c.Create(ctx, o, client.DryRunAll)
	}},
	{name: "POST with generateName", creates: true, do: func(ctx context.Context, c client.Client, o client.Object) error {
		o.SetGenerateName(o.GetName() + "-")
		o.SetName("")
		return c.Create(ctx, o)
	}},
	{name: "server-side apply that creates", creates: true, patchesNothing: true, do: func(ctx context.Context, c client.Client, o client.Object) error {
		return apply(ctx, c, o, "")
	}},
	{name: "server-side apply that creates, dry run", creates: true, patchesNothing: true, do: func(ctx context.Context, c client.Client, o client.Object) error {
		return apply(ctx, c, o, "", client.DryRunAll)
	}},
	{name: "PUT", do: func(ctx context.Context, c client.Client, o client.Object) error {
		o.SetAnnotations(map[string]string{"put": ""})
		return c.Update(ctx, o)
	}},
	{name: "PUT, dry run", do: func(ctx context.Context, c client.Client, o client.Object) error {
		o.SetAnnotations(map[string]string{"put": ""})
		return c.Update(ctx, o, client.DryRunAll)
	}},
	{name: "merge patch", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return merge(ctx, c, o, `{"metadata":{"annotations":{"merge":""}}}`)
	}},
	{name: "JSON patch", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return c.Patch(ctx, o, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/metadata/annotations","value":{"json":""}}]`)))
	}},
	{name: "server-side apply", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return apply(ctx, c, o, "ssa")
	}},
	{name: "a finalizer", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return merge(ctx, c, o, `{"metadata":{"finalizers":["example.com/stay"]}}`)
	}},
	{name: "DELETE", do: func(ctx context.Context, c client.Client, o client.Object) error { return c.Delete(ctx, o) }},
	{name: "DELETE, orphaning", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return c.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	}},
	{name: "DELETE, dry run", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return c.Delete(ctx, o, client.DryRunAll)
	}},
	{name: "deletecollection by the path's label", do: func(ctx context.Context, c client.Client, o client.Object) error {
		job := o.GetName()
		if run, ok := o.(*v1alpha1.JobRun); ok {
			job = run.Spec.Job
		}
		return c.DeleteAllOf(ctx, o, client.InNamespace(o.GetNamespace()), client.HasLabels{"in.grantry.dev/" + job})
	}},
}

var jobPaths = []path{
	{name: "what runs", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return merge(ctx, c, o, `{"spec":{"run":{"cmd":"false"}}}`)
	}},
	{name: "suspend", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return merge(ctx, c, o, `{"spec":{"suspend":true}}`)
	}},
	{name: "the owner", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return merge(ctx, c, o, `{"spec":{"owner":{"kind":"User","name":"mallory"}}}`)
	}},
	{name: "an owner reference", do: func(ctx context.Context, c client.Client, o client.Object) error {
		return merge(ctx, c, o, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"gone","uid":"1"}]}}`)
	}},
}

// grant gives a user actions on the jobs at and below a path.
func (w *world) grant(t *testing.T, name, user, at string, actions ...v1alpha1.Action) {
	t.Helper()
	for _, object := range []client.Object{
		&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:" + at}},
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GrantSpec{
			ACL: name, Actions: actions, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
		}},
	} {
		if err := w.admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// who is somebody, with what RBAC says of it, and where it may write.
type who struct {
	name   string
	client client.Client
	may    func(under string) bool
}

// TestPaths takes every way to write, as users with certificates: those with a grant for the name, those with
// one for another, and cluster-admins by RBAC.
func TestPaths(t *testing.T) {
	for name, o := range map[string]options{
		"permissive, without authorization": {mode: permission.ModePermissive},
		"strict, without authorization":     {mode: permission.ModeStrict},
		"permissive, with authorization":    {mode: permission.ModePermissive, authorization: true},
		"strict, with authorization":        {mode: permission.ModeStrict, authorization: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, o)
			users := w.users(t, o)
			attempts := 0
			for _, u := range users {
				for _, under := range []string{"dev.batch", "ops"} {
					for i, p := range paths {
						w.try(t, o, u, p, newJob(fmt.Sprintf("%s.%s%d", under, u.name, i)), u.may(under))
						unseen := o.authorization && p.patchesNothing && u.name == "alice"
						w.try(t, o, u, p, newRun(fmt.Sprintf("%s.%s-run%d", under, u.name, i), under), u.may(under) && !unseen)
						attempts += 2
					}
					for i, p := range jobPaths {
						w.try(t, o, u, p, newJob(fmt.Sprintf("%s.%s-only%d", under, u.name, i)), u.may(under))
						attempts++
					}
				}
			}
			t.Logf("%d attempts", attempts)
		})
	}
}

func newRun(name, job string) *v1alpha1.JobRun {
	return &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name}, Spec: v1alpha1.JobRunSpec{Job: job}}
}

// users are those of the table. Where no authorizer knows names, RBAC gives tenants the verbs.
func (w *world) users(t *testing.T, o options) []who {
	t.Helper()
	w.grant(t, "dev-batch", "alice", "dev.batch", v1alpha1.ActionFull)
	w.grant(t, "other", "mallory", "other", v1alpha1.ActionFull)
	if !o.authorization {
		w.role(t, "alice", everyVerb)
		w.role(t, "mallory", everyVerb)
	}
	w.role(t, "carol", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}})
	users := []who{
		{"alice", w.as(t, "alice"), func(under string) bool { return under == "dev.batch" }},
		{"mallory", w.as(t, "mallory"), func(string) bool { return false }},
		{"carol", w.as(t, "carol"), func(string) bool { return o.mode != permission.ModeStrict }},
	}
	g := NewWithT(t)
	g.Eventually(func() error {
		return users[0].client.Create(t.Context(), newJob("dev.batch.ready"), client.DryRunAll)
	}).WithTimeout(waitFor).Should(Succeed(), "the policy and RBAC are known")
	return users
}

// try takes a path as a user, and looks at what came of it.
func (w *world) try(t *testing.T, o options, u who, p path, object client.Object, want bool) {
	t.Helper()
	key := client.ObjectKeyFromObject(object)
	what := fmt.Sprintf("%s, %s of %T %s", u.name, p.name, object, key.Name)
	if !p.creates {
		if err := w.admin.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: prepare: %v", what, err)
		}
	}
	before := object.DeepCopyObject().(client.Object)
	err := p.do(t.Context(), u.client, object)
	switch {
	case want && err != nil:
		t.Errorf("%s: %v", what, err)
	case want:
	case err == nil:
		t.Errorf("%s: it was let through", what)
	case !apierrors.IsForbidden(err):
		t.Errorf("%s: %v, want it forbidden", what, err)
	case !strings.Contains(err.Error(), "user "+u.name) || (!o.authorization && !strings.Contains(err.Error(), "ask for a Grant of")):
		t.Errorf("%s: %v does not say who lacks what", what, err)
	}
	if want {
		return
	}
	after := before.DeepCopyObject().(client.Object)
	err = w.admin.Get(t.Context(), key, after)
	if p.creates != apierrors.IsNotFound(err) {
		t.Errorf("%s: it is there: %v", what, err)
	}
	if !p.creates && (after.GetResourceVersion() != before.GetResourceVersion() || after.GetDeletionTimestamp() != nil) {
		t.Errorf("%s: it was refused, and something was written", what)
	}
}
