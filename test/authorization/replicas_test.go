package authorization

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

const (
	// clients is how many ask without a pause, one request after the other.
	clients = 12
	// stretch is how long they ask before a replica ends, and after it.
	stretch = 2 * time.Second
	// notice is how long the API server may take to see that a connection was closed: what it sends on it until then
	// was under way, too.
	notice = 50 * time.Millisecond
)

// answer is how a request ended, and when it was under way.
type answer struct {
	code       int
	message    string
	began, end time.Time
}

// question is what a client asks again and again, and what is right to answer.
type question struct {
	of      *user
	ask     ask
	code    int
	message string // part of it
}

// asking lets clients ask without a pause until it is told to stop, and returns what they were answered wrongly, and
// how many were answered. Some are refused: an outage in strict mode refuses, too, so a refusal must be Grantry's.
func asking(t *testing.T, w *world, questions []question) (stop func() (wrong []answer, all int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var wrong []answer
	all := 0
	var group sync.WaitGroup
	for i := range clients {
		q := questions[i%len(questions)]
		group.Go(func() {
			for ctx.Err() == nil {
				a := answer{began: time.Now()}
				a.code, a.message = w.do(t, q.of, q.ask)
				a.end = time.Now()
				mu.Lock()
				all++
				if a.code != q.code || !strings.Contains(a.message, q.message) {
					wrong = append(wrong, a)
				}
				mu.Unlock()
			}
		})
	}
	return func() ([]answer, int) {
		cancel()
		group.Wait()
		return wrong, all
	}
}

// replica is an operator that serves both webhooks.
type replica struct {
	operator                 *harness.Operator
	authorization, admission *harness.Backend
}

// replicas start operators that serve both webhooks, behind a balancer for each.
func replicas(t *testing.T, w *world, count int) (all []*replica, authorization, admission *harness.Balancer) {
	t.Helper()
	address := grantrytesting.FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	w.install(t, "rbac/role_binding_namespace.yaml", "webhook/secret.yaml")
	configurations, err := grantrytesting.WebhookConfigurations("https://localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	w.create(t, configurations...)
	var asked, admitted []*harness.Backend
	for range count {
		r := &replica{authorization: &harness.Backend{Address: grantrytesting.FreeAddress(t)}, admission: &harness.Backend{Address: grantrytesting.FreeAddress(t)}}
		r.operator = w.operate(t, w.mode, r.authorization.Address, "--leader-elect=true", "--leader-election-namespace=grantry-system",
			"--admission-bind-address="+r.admission.Address, "--admission-dns-names=localhost")
		r.authorization.IsReady, r.admission.IsReady = r.operator.IsReady, r.operator.IsReady
		all, asked, admitted = append(all, r), append(asked, r.authorization), append(admitted, r.admission)
	}
	return all, balance(t, w.address, asked...), balance(t, address, admitted...)
}

// TestReplicas: three operators answer at one address. Whichever ends, and however, no request is answered wrongly by
// either webhook but those that were under way when it was killed; and none is when the leader loses its lease.
func TestReplicas(t *testing.T) {
	w := &world{site: newSite(t, "strict"), mode: "strict", acls: map[string]string{}}
	all, authorization, admission := replicas(t, w, 3)
	may, mayNot := w.holder(t, "may", "dcos:service:metronome:metronome:jobs:dev.batch full"), w.user(t, "may-not")
	w.hold(t, "owner", superuser)
	w.create(t, job(instance, "dev.batch.job1"))
	w.eventually(t, may, "get jobs dev.batch.job1")
	w.enforced(t, "late", all...)
	questions := []question{
		{may, parse("get jobs dev.batch.job1"), http.StatusOK, ""},
		{mayNot, parse("get jobs dev.batch.job1"), http.StatusForbidden, `may not "read" on jobs dev.batch.job1`},
		{may, parse("create jobs dev.batch.new"), http.StatusCreated, ""},
		{may, parse("create jobs ops.new"), http.StatusForbidden, `may not "create" on jobs ops.new`}, // by admission: a create has no name before
	}
	busiest := func(b *harness.Balancer) *replica {
		most := b.Busiest()
		i := slices.IndexFunc(all, func(r *replica) bool { return r.authorization == most || r.admission == most })
		if i < 0 {
			t.Fatal("the API server is connected to no replica")
		}
		return all[i]
	}
	w.during(t, "the leader loses its lease", questions, func() (until time.Time) { w.takeLease(t); return })
	killed, stopped := (*replica)(nil), (*replica)(nil)
	w.during(t, "a replica is killed", questions, func() (until time.Time) {
		killed = busiest(authorization)
		killed.operator.Kill()
		drained(t, authorization, killed.authorization)
		return drained(t, admission, killed.admission).Add(notice)
	})
	w.during(t, "a replica stops", questions, func() (until time.Time) {
		stopped = busiest(admission)
		stopped.operator.Stop()
		return
	})
	for _, r := range all {
		if r != killed && r != stopped && !r.operator.IsReady() {
			t.Error("a replica that nobody told to end is not ready")
		}
	}
	w.enforced(t, "later")                            // by the last one: the Lease of the one that was killed has to run out
	w.expect(t, may, true, "get jobs dev.batch.job1") // the last one that is left
	w.expect(t, mayNot, false, "get jobs dev.batch.job1")
}

// during asks while something happens, and afterwards. If that returns a time, what was under way until then may fail.
func (w *world) during(t *testing.T, what string, questions []question, happen func() (until time.Time)) {
	t.Helper()
	pulse := harness.TakePulse(t.Context())
	stop := asking(t, w, questions)
	time.Sleep(stretch)
	at := time.Now()
	until := happen()
	time.Sleep(stretch)
	wrong, all := stop()
	inFlight := 0
	for _, a := range wrong {
		switch {
		case a.began.Before(until) && a.end.After(at):
			inFlight++
		case pulse.Excuses(a.began, a.end, a.message):
			t.Logf("the machine is to blame: %d: %s", a.code, a.message)
		default:
			t.Errorf("%s: %s after it: %d: %s", what, a.began.Sub(at), a.code, a.message)
		}
	}
	if inFlight > clients {
		t.Errorf("%s: %d requests were under way, and there are %d clients", what, inFlight, clients)
	}
	t.Logf("%s: %d requests, %d of them failed that were under way", what, all, inFlight)
	if all < clients*2 {
		t.Errorf("%s: only %d requests", what, all)
	}
}

// takeLease has somebody else hold the lease for a few seconds, and waits until a replica leads again and launches.
func (w *world) takeLease(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(10 * waitFor)
	lease := &coordinationv1.Lease{}
	get := func() (string, error) {
		err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: "grantry-system", Name: "grantry.dev"}, lease)
		return ptr.Deref(lease.Spec.HolderIdentity, ""), err
	}
	g.Eventually(func() error {
		if _, err := get(); err != nil {
			return err
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new("somebody else"), new(int32(3))
		return w.admin.Update(t.Context(), lease)
	}).Should(Succeed(), "the leader may renew it in the same moment")
	g.Eventually(get).ShouldNot(BeElementOf("somebody else", ""))
	w.create(t, jobRun(instance, "after-the-loss", "dev.batch.job1"))
	w.child(t, "after-the-loss")
}

// enforced gives somebody a Grant, and waits until its status says that every replica decides by it. Then each of some
// replicas does.
func (w *world) enforced(t *testing.T, name string, replicas ...*replica) {
	t.Helper()
	g := NewWithT(t)
	w.hold(t, name, readJobs)
	grant := &v1alpha1.Grant{}
	g.Eventually(func() error {
		if err := w.admin.Get(t.Context(), client.ObjectKey{Name: fmt.Sprintf("grant-%d", w.grants-1)}, grant); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(grant.Status.Conditions, v1alpha1.ConditionPropagated); c == nil || c.Status != metav1.ConditionTrue {
			return fmt.Errorf("%+v", grant.Status.Conditions)
		}
		return nil
	}).WithTimeout(10 * waitFor).Should(Succeed())
	versions := map[float64]bool{}
	for _, r := range replicas {
		families, err := r.operator.Metrics()
		g.Expect(err).NotTo(HaveOccurred())
		for _, m := range families["grantry_policy_objects"].GetMetric() {
			if m.GetLabel()[0].GetValue() == "grant" {
				versions[m.GetGauge().GetValue()] = true
			}
		}
	}
	g.Expect(len(versions)).To(BeNumerically("<=", 1), "the replicas hold different numbers of Grants: %v", versions)
}
