package bypass

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// Identities that write what users may not.
const (
	operator      = "system:serviceaccount:grantry-system:grantry"
	jobController = "system:serviceaccount:kube-system:job-controller"
	scheduler     = "system:kube-scheduler"
	node          = "system:node:node-1"
)

// people are the users, with their groups and what they hold.
var people = map[string]struct {
	groups []string
	holds  string
}{
	"alice":      {tenants, "`full` on `dev.batch`, and owns what is attacked"},
	"mallory":    {tenants, "no grant"},
	"nina":       {tenants, "`full` on `marketing`, a neighbour of `dev`"},
	"gus":        {tenants, "`full` on `marketing` as a member of the Group `marketers`"},
	"sue":        {tenants, "`full` on `dev.batchx`, which `dev.batch` is a string prefix of"},
	"rita":       {tenants, "`read` on `dev.batch`"},
	"runa":       {tenants, "`run` on `dev.batch`"},
	"una":        {tenants, "`update` on `dev.batch`"},
	"cleo":       {tenants, "`create` on `dev.batch`"},
	"exa":        {tenants, "`full` on `dev.batch`, expired"},
	"tim":        {tenants, "`full` on `dev.batch`, until 2100"},
	"nora":       {tenants, "`full` on `dev.batch`, from 2999 on"},
	"аlice":      {tenants, "no grant, and a name that begins with U+0430"},
	"Alice":      {tenants, "no grant, and a name in another case"},
	"outsider":   {nil, "no grant, and nothing by RBAC"},
	"dcos-admin": {tenants, "`full` on `dcos:superuser`"},
	"carol":      {nil, "cluster-admin by RBAC"},
	"root":       {[]string{"system:masters"}, "everything by the API server"},
	"system:serviceaccount:metronome:builder": {
		[]string{"system:serviceaccounts", "system:serviceaccounts:metronome", "tenants"}, "no grant, a service account",
	},
}

var tenants = []string{"tenants"}

// world is a server with something to attack.
type world struct {
	*server
	clients map[string]rest.Interface
	// facts are what requests name: $CHILD, $POD, $JOB_UID …
	facts *strings.Replacer
	// before is the state that the last attempt left.
	before map[string]map[string]any
}

// build fills a server: what is shipped, two teams, and a run with its child and pod.
func build(t *testing.T, mode permission.SecurityMode) *world {
	t.Helper()
	g := NewWithT(t)
	w := &world{server: start(t, mode), clients: map[string]rest.Interface{}}
	content, err := os.ReadFile(filepath.Join("testdata", "world.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	w.create(t, grantrytesting.Decode(t, content)...)
	if mode == permission.ModeStrict {
		w.allowSubresources(t)
	}
	w.create(t, grantrytesting.Shipped(t, "admission-policy/*.yaml")...)
	w.awaitPolicies(t)
	for _, user := range []string{"alice", "rita", "runa", "una", "cleo"} {
		g.Eventually(func() bool { return w.holds(user) }).WithTimeout(waitFor).Should(BeTrue(), "the Grant of %s counts", user)
	}
	w.addRun(t)
	return w
}

// as is what a user sends requests with, by a certificate of its own.
func (w *world) as(t *testing.T, name string) rest.Interface {
	t.Helper()
	if c, ok := w.clients[name]; ok {
		return c
	}
	config := w.configOf(t, name)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	w.clients[name] = c
	return c
}

// configOf makes a certificate.
func (s *server) configOf(t *testing.T, name string) *rest.Config {
	t.Helper()
	user, err := s.environment.AddUser(envtest.User{Name: name, Groups: groupsOf(name)}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return user.Config()
}

// groupsOf are a user's groups: those of the account's kind, where it is not one of the people.
func groupsOf(name string) []string {
	if person, ok := people[name]; ok {
		return person.groups
	}
	if parts := strings.Split(name, ":"); len(parts) == 4 && parts[1] == "serviceaccount" {
		return []string{"system:serviceaccounts", "system:serviceaccounts:" + parts[2]}
	}
	if strings.HasPrefix(name, "system:node:") {
		return []string{"system:nodes"}
	}
	return nil
}

// clientAs is a client with types, for what a user may do.
func (w *world) clientAs(t *testing.T, name string) client.Client {
	t.Helper()
	c, err := client.New(w.configOf(t, name), client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) create(t *testing.T, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if err := s.admin.Create(t.Context(), object); err != nil {
			t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// allowSubresources gives the tenants by RBAC what only strict mode can take away: what RBAC allows, permissive
// mode never refuses, and admission does not see.
func (w *world) allowSubresources(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tenant-subresources"}
	g.Expect(w.admin.Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Verbs: []string{"get", "create", "update", "patch"}, Resources: []string{
			"pods/log", "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers",
		}}},
	})).To(Succeed())
	g.Expect(w.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: role,
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "tenants"}},
	})).To(Succeed())
}

// awaitPolicies waits until the API server enforces each policy.
func (w *world) awaitPolicies(t *testing.T) {
	t.Helper()
	forged := metav1.ObjectMeta{
		Namespace: "metronome", Name: "forged", Labels: map[string]string{v1alpha1.LabelRun: "forged"}, Finalizers: []string{"grantry.dev/forged"},
	}
	pod := corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "busybox"}}}}
	for policy, object := range map[string]client.Object{
		"grantry-children":   &batchv1.Job{ObjectMeta: forged, Spec: batchv1.JobSpec{Template: pod}},
		"grantry-pods":       &corev1.Pod{ObjectMeta: forged, Spec: pod.Spec},
		"grantry-objects":    &v1alpha1.JobRun{ObjectMeta: forged, Spec: v1alpha1.JobRunSpec{Job: "dev.batch.job1"}},
		"grantry-identities": &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: "forged"}, Spec: v1alpha1.JobRunSpec{Job: "x", Trigger: v1alpha1.TriggerSchedule}},
	} {
		NewWithT(t).Eventually(func() string {
			return fmt.Sprint(w.admin.Create(t.Context(), object.DeepCopyObject().(client.Object), client.DryRunAll))
		}).WithTimeout(waitFor).Should(ContainSubstring(policy), "the policy is in force")
	}
}

// addRun makes a run at work, each part by whoever makes it: alice, Grantry, the Job controller.
func (w *world) addRun(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	job := &v1alpha1.Job{}
	g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Namespace: "metronome", Name: "dev.batch.job1"}, job)).To(Succeed())
	run := &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: "dev.batch.job1-run"}, Spec: v1alpha1.JobRunSpec{Job: job.Name}}
	g.Expect(w.clientAs(t, "alice").Create(t.Context(), run)).To(Succeed())

	grantry := w.clientAs(t, operator)
	adopted := run.DeepCopy()
	adopted.Labels = batchjob.RunLabels(job)
	g.Expect(controllerutil.SetControllerReference(job, adopted, grantrytesting.Scheme)).To(Succeed())
	g.Expect(grantry.Patch(t.Context(), adopted, client.MergeFrom(run))).To(Succeed())
	child, err := batchjob.Child(batchjob.Input{
		Job: job, Run: adopted, Owner: *job.Spec.Owner, Grant: "alice-dev-batch", ACL: "dev-batch", Options: batchjob.Options{DefaultImage: "busybox"},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(grantry.Create(t.Context(), child)).To(Succeed())
	launched := adopted.DeepCopy()
	launched.Status.Child = &v1alpha1.ChildReference{Name: child.Name, UID: child.UID}
	g.Expect(grantry.Status().Patch(t.Context(), launched, client.MergeFrom(adopted))).To(Succeed())

	host := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: strings.TrimPrefix(node, "system:node:")}}
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("10")}
	g.Expect(w.admin.Create(t.Context(), host)).To(Succeed())
	host.Status.Allocatable, host.Status.Capacity = room, room
	g.Expect(w.admin.Status().Update(t.Context(), host)).To(Succeed())
	pod := &corev1.Pod{ObjectMeta: *child.Spec.Template.ObjectMeta.DeepCopy(), Spec: *child.Spec.Template.Spec.DeepCopy()}
	pod.Namespace, pod.Name, pod.Spec.NodeName = child.Namespace, child.Name+"-pod", host.Name
	pod.Finalizers = []string{batchv1.JobTrackingFinalizer}
	g.Expect(controllerutil.SetControllerReference(child, pod, grantrytesting.Scheme)).To(Succeed())
	g.Expect(w.clientAs(t, jobController).Create(t.Context(), pod)).To(Succeed())

	grant := &v1alpha1.Grant{}
	g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Name: "rita-reads"}, grant)).To(Succeed())
	w.facts = strings.NewReplacer("$ADMITTED", grant.Annotations[v1alpha1.AnnotationAdmitted], "$JOB_UID", string(job.UID), "$RUN_UID", string(run.UID), "$RUN", run.Name,
		"$CHILD_UID", string(child.UID), "$CHILD", child.Name, "$POD", pod.Name)
}

// versionOfJob is what a PUT of the Job must have.
func (w *world) versionOfJob(t *testing.T) string {
	t.Helper()
	job := &v1alpha1.Job{}
	if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: "metronome", Name: "dev.batch.job1"}, job); err != nil {
		t.Fatal(err)
	}
	return job.ResourceVersion
}

// unregister removes the webhooks, and waits until the API server asks none.
func (w *world) unregister(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	configurations, err := grantrytesting.WebhookConfigurations("https://localhost")
	g.Expect(err).NotTo(HaveOccurred())
	for _, configuration := range configurations {
		g.Expect(w.admin.Delete(t.Context(), configuration)).To(Succeed())
	}
	g.Eventually(func() error {
		_, err := w.try(t, "root", request{method: http.MethodPost, path: jobs + "?dryRun=All", body: aJob("dev.batch.x")})
		return err
	}).WithTimeout(waitFor).Should(Succeed(), "no webhook is asked")
}

// holds reports whether a user's grants on dev.batch count yet.
func (w *world) holds(user string) bool {
	return w.store.Snapshot().Decide(effective.Query{
		User: effective.UserSubject(user), Resource: permission.JobResource("metronome", "dev.batch"), AnyOf: permission.AllActions, At: time.Now(),
	}).Allowed
}

// state is every object that an attempt might change, but for what every write changes.
func (w *world) state(t *testing.T) map[string]map[string]any {
	t.Helper()
	state := map[string]map[string]any{}
	for _, kind := range []schema.GroupVersionKind{
		v1alpha1.GroupVersion.WithKind("ACL"), v1alpha1.GroupVersion.WithKind("Grant"), v1alpha1.GroupVersion.WithKind("Group"),
		v1alpha1.GroupVersion.WithKind("Job"), v1alpha1.GroupVersion.WithKind("JobRun"),
		batchv1.SchemeGroupVersion.WithKind("Job"), batchv1.SchemeGroupVersion.WithKind("CronJob"), corev1.SchemeGroupVersion.WithKind("Pod"),
		rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := w.admin.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			object.SetManagedFields(nil)
			object.SetResourceVersion("")
			state[fmt.Sprintf("%s %s/%s", kind, object.GetNamespace(), object.GetName())] = object.Object
		}
	}
	return state
}
