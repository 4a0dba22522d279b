package authorization

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
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

// asking lets clients ask without a pause until it is told to stop, and returns what they were answered wrongly, and
// how many were answered. Half of them may, and the others may not: an outage in strict mode refuses, too, so a refusal
// must be Grantry's.
func asking(t *testing.T, w *world, may, mayNot *user) (stop func() (wrong []answer, all int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var wrong []answer
	all := 0
	var group sync.WaitGroup
	for i := range clients {
		u, text := may, "get jobs dev.batch.job1"
		if i%2 == 1 {
			u = mayNot
		}
		group.Go(func() {
			for ctx.Err() == nil {
				a := answer{began: time.Now()}
				a.code, a.message = w.do(t, u, parse(text))
				a.end = time.Now()
				right := a.code == http.StatusOK
				if u == mayNot {
					right = a.code == http.StatusForbidden && strings.Contains(a.message, `may not "read" on jobs dev.batch.job1`)
				}
				mu.Lock()
				all++
				if !right {
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

// TestReplicas: three operators answer at one address. Whichever ends, and however, no request is answered wrongly
// but those that were under way when it was killed.
func TestReplicas(t *testing.T) {
	w := &world{site: newSite(t, "strict"), mode: "strict", acls: map[string]string{}}
	var replicas []*replica
	for range 3 {
		address := grantrytesting.FreeAddress(t)
		replicas = append(replicas, &replica{address: address, operator: w.operate(t, w.mode, address, "--leader-elect=true", "--leader-election-namespace=grantry-system")})
	}
	b := balance(t, w.address, replicas...)
	may := w.holder(t, "may", readJobs)
	mayNot := w.user(t, "may-not")
	w.create(t, job(instance, "dev.batch.job1"))
	w.eventually(t, may, "get jobs dev.batch.job1")
	w.enforced(t, "late", replicas...)

	for _, ending := range []struct {
		name   string
		end    func(*replica)
		killed bool
	}{
		{"killed", func(r *replica) { r.operator.Kill() }, true},
		{"stopped", func(r *replica) { r.operator.Stop() }, false},
	} {
		t.Run(ending.name, func(t *testing.T) {
			stop := asking(t, w, may, mayNot)
			time.Sleep(stretch)
			r := b.busiest()
			if r == nil {
				t.Fatal("the API server is connected to no replica")
			}
			at := time.Now()
			ending.end(r)
			gone := b.drained(t, r).Add(notice)
			time.Sleep(stretch)
			wrong, all := stop()
			inFlight := 0
			for _, a := range wrong {
				if ending.killed && a.began.Before(gone) && a.end.After(at) {
					inFlight++
					continue
				}
				t.Errorf("%s after the end: %d: %s", a.began.Sub(at), a.code, a.message)
			}
			if inFlight > clients {
				t.Errorf("%d requests were under way, and there are %d clients", inFlight, clients)
			}
			t.Logf("%d requests, %d of them failed that were under way", all, inFlight)
			if all < clients*2 {
				t.Errorf("only %d requests", all)
			}
		})
	}
	w.enforced(t, "later")                            // by the last one: the Lease of the one that was killed has to run out
	w.expect(t, may, true, "get jobs dev.batch.job1") // the last one that is left
	w.expect(t, mayNot, false, "get jobs dev.batch.job1")
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
