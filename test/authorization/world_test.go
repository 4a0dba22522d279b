package authorization

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/test/harness"
)

// world is a site with Jobs, runs at work, pods, and users who hold permission strings.
//
//	dev, dev.batch, dev.batchx, dev.batch.job2, prod.job   on demand
//	dev.batch.job1, dev.other                              with a run r1 and other, of which pods r1 and other are
//	pods forged and plain                                  of no run; forged has the labels of r1's pod
type world struct {
	*site
	mode     string
	operator *harness.Operator
	acls     map[string]string // names by resource id
	grants   int
}

// superuser owns the Jobs of a world.
const superuser = "dcos:superuser full"

// newWorld starts a site and an operator, and fills it.
func newWorld(t *testing.T, configuration, mode string, args ...string) *world {
	t.Helper()
	w := &world{site: newSite(t, configuration), mode: mode, acls: map[string]string{}}
	w.operator = w.operate(t, mode, w.address, args...)
	w.hold(t, "owner", superuser)
	for _, name := range []string{"dev", "dev.batch", "dev.batchx", "dev.batch.job1", "dev.batch.job2", "dev.other", "prod.job"} {
		w.create(t, job(instance, name))
	}
	for _, run := range [][2]string{{"r1", "dev.batch.job1"}, {"other", "dev.other"}} {
		w.create(t, jobRun(instance, run[0], run[1]))
		w.create(t, podOf(w.child(t, run[0]), run[0]))
	}
	w.create(t, &v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Spec: v1alpha1.GroupSpec{Members: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "member"}}}})
	forged, plain := podOf(w.child(t, "r1"), "forged"), podOf(w.child(t, "r1"), "plain")
	forged.OwnerReferences, plain.OwnerReferences, plain.Labels = nil, nil, nil
	w.create(t, forged, plain)
	w.labelled(t, "dev.batch.job1", "dev.batch.job2", "dev.other")
	return w
}

func job(namespace, name string) *v1alpha1.Job {
	return &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.JobSpec{
			Owner: &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "owner"}, StartPolicy: v1alpha1.StartOnDemand,
			Run: &v1alpha1.RunSpec{Cmd: "sleep 1000"},
		},
	}
}

func jobRun(namespace, name, job string) *v1alpha1.JobRun {
	return &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.JobRunSpec{Job: job}}
}

// podOf is a pod as the Job controller makes it of a batch/v1 Job; there is none beside this API server.
func podOf(child *batchv1.Job, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: child.Namespace, Name: name, Labels: child.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(child, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}
}

// child waits for the batch/v1 Job with which the operator launches a run.
func (w *world) child(t *testing.T, run string) *batchv1.Job {
	t.Helper()
	owner, child := &v1alpha1.JobRun{}, &batchv1.Job{}
	if err := w.admin.Get(t.Context(), key(run), owner); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(waitFor); ; time.Sleep(20 * time.Millisecond) {
		err := w.admin.Get(t.Context(), key(batchjob.ChildName(owner)), child)
		if err == nil {
			return child
		}
		if !apierrors.IsNotFound(err) || time.Now().After(deadline) {
			_ = w.admin.Get(t.Context(), key(run), owner)
			t.Fatalf("run %s is not launched: %v; its status: %+v", run, err, owner.Status.Conditions)
		}
	}
}

// labelled waits until Jobs have the labels of their ancestors, by the operator's hand.
func (w *world) labelled(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		object := &v1alpha1.Job{}
		for deadline := time.Now().Add(waitFor); ; time.Sleep(20 * time.Millisecond) {
			if err := w.admin.Get(t.Context(), key(name), object); err != nil {
				t.Fatal(err)
			}
			if _, found := object.Labels[v1alpha1.AncestorLabelPrefix+name]; found {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("Job %s has only the labels %v", name, object.Labels)
			}
		}
	}
}

func key(name string) client.ObjectKey { return client.ObjectKey{Namespace: instance, Name: name} }

// hold gives a user what permission strings such as "dcos:superuser full" say, each by a Grant of its own.
func (w *world) hold(t *testing.T, name string, permissions ...string) {
	t.Helper()
	w.holdAs(t, v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: name}, permissions...)
}

func (w *world) holdAs(t *testing.T, subject v1alpha1.Subject, permissions ...string) {
	t.Helper()
	for _, permission := range permissions {
		id, actions, _ := strings.Cut(permission, " ")
		if w.acls[id] == "" {
			w.acls[id] = fmt.Sprintf("acl-%d", len(w.acls))
			w.create(t, &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: w.acls[id]}, Spec: v1alpha1.ACLSpec{Resource: id}})
		}
		grant := &v1alpha1.Grant{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("grant-%d", w.grants)},
			Spec:       v1alpha1.GrantSpec{ACL: w.acls[id], Subjects: []v1alpha1.Subject{subject}},
		}
		for action := range strings.SplitSeq(actions, ",") {
			grant.Spec.Actions = append(grant.Spec.Actions, v1alpha1.Action(action))
		}
		w.create(t, grant)
		w.grants++
	}
}

// holder makes a user who holds permissions.
func (w *world) holder(t *testing.T, name string, permissions ...string) *user {
	t.Helper()
	w.hold(t, name, permissions...)
	return w.user(t, name)
}

// settled waits until every Grant so far counts: they count in the order in which they were made.
func (w *world) settled(t *testing.T) {
	t.Helper()
	last := w.holder(t, fmt.Sprintf("last-%d", w.grants), fmt.Sprintf("dcos:service:metronome:%s:jobs:last%d read", instance, w.grants))
	w.eventually(t, last, fmt.Sprintf("get jobs last%d", w.grants-1))
}

// clusterAdmin makes a user to whom RBAC gives everything.
func (s *site) clusterAdmin(t *testing.T, name string) *user {
	t.Helper()
	s.bindClusterAdmin(t, name)
	u := s.user(t, name)
	s.eventually(t, u, "list secrets")
	return u
}

func (s *site) bindClusterAdmin(t *testing.T, name string) {
	t.Helper()
	s.create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(name, ":", "-")},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})
}
