package bypass

import (
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/permission"
)

// kueue is the account of Kueue's manager, to whom RBAC gives what its own manifests do.
const kueue = "system:serviceaccount:kueue-system:kueue-controller-manager"

// TestQueueManager: of the batch/v1 Jobs of runs Kueue's manager starts, places and stops those that have a queue,
// unless Grantry holds them back, and does nothing else. Nobody else does what it may.
func TestQueueManager(t *testing.T) {
	w := build(t, permission.ModePermissive)
	w.bindKueue(t)
	waits, works, held := w.addQueued(t, "waits"), w.addQueued(t, "works"), w.addQueued(t, "held")
	asKueue, asGrantry := w.clientAs(t, kueue), w.clientAs(t, operator)
	change(t, asKueue, works, func(c *batchv1.Job) { c.Spec.Suspend = new(false) })
	change(t, asGrantry, held, func(c *batchv1.Job) {
		c.Annotations[v1alpha1.AnnotationSuspendedByRevocation] = "true"
	})
	at := strings.NewReplacer("$WAITS", batches+"/"+waits, "$WORKS", batches+"/"+works, "$HELD", batches+"/"+held)

	notStarted := refusal{byPolicy, "Grantry holds the run back until its owner's permission is back"}
	allowed := refusal{}
	for name, tc := range map[string]struct {
		who, method, path, body string
		want                    refusal
	}{
		"start and place":               {kueue, mergePatch, "$WAITS", `{spec: {suspend: false, template: {metadata: {labels: {kueue.x-k8s.io/podset: main}}, spec: {nodeSelector: {pool: big}, tolerations: [{key: a, operator: Exists}]}}}}`, allowed},
		"stop":                          {kueue, mergePatch, "$WORKS", `{metadata: {annotations: {kueue.x-k8s.io/stopping: "true"}}, spec: {suspend: true}}`, allowed},
		"stop what is held":             {kueue, mergePatch, "$HELD", `{metadata: {annotations: {kueue.x-k8s.io/stopping: "true"}}, spec: {suspend: true}}`, allowed},
		"start what is held":            {kueue, mergePatch, "$HELD", `{spec: {suspend: false}}`, notStarted},
		"take the mark off":             {kueue, mergePatch, "$HELD", `{metadata: {annotations: {grantry.dev/suspended-by-revocation: null}}, spec: {suspend: false}}`, notChanged},
		"put it into another queue":     {kueue, mergePatch, "$WAITS", `{metadata: {labels: {kueue.x-k8s.io/queue-name: other}}}`, notChanged},
		"raise the parallelism":         {kueue, mergePatch, "$WAITS", `{spec: {parallelism: 9}}`, notChanged},
		"lengthen the deadline":         {kueue, mergePatch, "$WORKS", `{spec: {activeDeadlineSeconds: 9999}}`, notChanged},
		"label the pods as another":     {kueue, mergePatch, "$WAITS", `{spec: {template: {metadata: {labels: {in.grantry.dev/marketing: ""}}}}}`, notChanged},
		"take the owner off":            {kueue, mergePatch, "$WAITS", `{metadata: {ownerReferences: null}}`, notChanged},
		"report it as complete":         {kueue, mergePatch, "$WORKS/status", `{status: {succeeded: 1}}`, notReported},
		"delete":                        {kueue, http.MethodDelete, "$WAITS", "", notDeleted},
		"suspend one that has no queue": {kueue, mergePatch, child, `{spec: {suspend: true}}`, notChanged},
		"start, by a user":              {"una", mergePatch, "$WAITS", `{spec: {suspend: false}}`, notChanged},
		"start, by an administrator":    {"root", mergePatch, "$WAITS", `{spec: {suspend: false}}`, notChanged},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.try(t, tc.who, request{method: tc.method, path: at.Replace(tc.path) + "?dryRun=All", body: tc.body})
			switch {
			case tc.want == allowed && err != nil:
				t.Error(err)
			case tc.want != allowed && (err == nil || !strings.Contains(err.Error(), tc.want.says)):
				t.Errorf("not refused as %q: %v", tc.want.says, err)
			}
		})
	}
}

// bindKueue gives Kueue's account what its own manifests do on batch/v1 Jobs, and to delete them besides.
func (w *world) bindKueue(t *testing.T) {
	t.Helper()
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tenant"}
	NewWithT(t).Expect(w.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kueue"}, RoleRef: role,
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "kueue-system", Name: "kueue-controller-manager"}},
	})).To(Succeed())
}

// addQueued makes a child that waits in a queue, as Grantry does, and returns its name.
func (w *world) addQueued(t *testing.T, name string) string {
	t.Helper()
	job := &v1alpha1.Job{}
	NewWithT(t).Expect(w.admin.Get(t.Context(), client.ObjectKey{Namespace: "metronome", Name: "dev.batch.job1"}, job)).To(Succeed())
	job.Labels["kueue.x-k8s.io/queue-name"] = "team"
	run := &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: name, UID: types.UID(name)}}
	queued, err := batchjob.Child(batchjob.Input{Job: job, Run: run, Options: batchjob.Options{DefaultImage: "busybox"}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(w.clientAs(t, operator).Create(t.Context(), queued)).To(Succeed())
	return queued.Name
}

// change patches a child as somebody.
func change(t *testing.T, as client.Client, name string, edit func(*batchv1.Job)) {
	t.Helper()
	object := &batchv1.Job{}
	g := NewWithT(t)
	g.Expect(as.Get(t.Context(), client.ObjectKey{Namespace: "metronome", Name: name}, object)).To(Succeed())
	before := object.DeepCopy()
	edit(object)
	g.Expect(as.Patch(t.Context(), object, client.MergeFrom(before))).To(Succeed())
}
