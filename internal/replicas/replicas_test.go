package replicas

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &apiServer)) }

// waitFor bounds what comes about within a renewal or two.
const waitFor = time.Minute

// policy is a snapshot that a test moves on.
type policy struct {
	mu      sync.Mutex
	grants  uint64
	stopped bool // it decides nothing any more
	changed chan struct{}
}

func newPolicy(grants uint64) *policy {
	return &policy{grants: grants, changed: make(chan struct{}, 1)}
}

func (p *policy) Subscribe(context.Context) <-chan struct{} { return p.changed }

func (p *policy) Synced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stopped
}

func (p *policy) Watermarks() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return map[string]uint64{"grant": p.grants}
}

func (p *policy) move(grants uint64) {
	p.mu.Lock()
	p.grants = grants
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// start runs something until the test ends or stop is called.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestRoll_everyReplica: on a real API server, three replicas are followed as they come further, stop and go.
func TestRoll_everyReplica(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	c := apiServer.Client(t)
	member := func(name string, p Policy) func() {
		return start(t, (&Member{Client: c, Namespace: "default", Name: name, Policy: p, MaxAge: time.Minute, Clock: clock.RealClock{}}).Start)
	}
	a, b, late := newPolicy(10), newPolicy(10), newPolicy(30)
	member("a", a)
	stopB := member("b", b)
	roll := &Roll{Config: apiServer.Require(t), Options: cache.Options{Scheme: grantrytesting.Scheme}, Client: c, Namespace: "default", Clock: clock.RealClock{}}
	woken := roll.Subscribe(t.Context())
	g.Expect(roll.Holds("grant", 1)).To(BeFalse(), "nothing is known yet")
	start(t, roll.Start)
	holds := func(version uint64) func() bool { return func() bool { return roll.Holds("grant", version) } }
	g.Eventually(holds(10)).Should(BeTrue(), "both have come to 10")
	g.Expect(woken).To(Receive())
	g.Expect(roll.Holds("grant", 11)).To(BeFalse())
	g.Expect(roll.Holds("acl", 1)).To(BeFalse(), "of ACLs nobody has said anything")

	a.move(20)
	g.Eventually(func() uint64 { return known(roll)["a"] }).Should(BeEquivalentTo(20))
	g.Expect(roll.Holds("grant", 20)).To(BeFalse(), "one of two has come to 20")
	b.move(20)
	g.Eventually(holds(20)).Should(BeTrue())
	member("late", late)
	a.move(30)
	g.Eventually(func() map[string]uint64 { return known(roll) }).Should(Equal(map[string]uint64{"a": 30, "b": 20, "late": 30}))
	g.Expect(roll.Holds("grant", 30)).To(BeFalse(), "b is behind")
	stopB()
	g.Eventually(holds(30)).Should(BeTrue(), "b has ended, and is not waited for")
	var leases coordinationv1.LeaseList
	g.Expect(c.List(t.Context(), &leases, client.InNamespace("default"), client.MatchingLabels{v1alpha1.LabelReplica: "true"})).To(Succeed())
	g.Expect(leases.Items).To(HaveLen(2))
}

// known is how far each replica is known to have come.
func known(r *Roll) map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := map[string]uint64{}
	for name, p := range r.members {
		of[name] = p.watermarks["grant"]
	}
	return of
}

// lease is one that was renewed for the nth time.
func lease(name, watermarks string, renewed int) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{v1alpha1.AnnotationWatermarks: watermarks}},
		Spec:       coordinationv1.LeaseSpec{RenewTime: new(metav1.NewMicroTime(time.Unix(int64(renewed), 0))), LeaseDurationSeconds: new(int32(65))},
	}
}

// TestRoll_dead: a replica that is not heard of is not waited for longer than it could decide.
func TestRoll_dead(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Unix(1_000_000, 0))
	r := &Roll{Clock: clk, isSynced: true}
	r.saw(lease("a", `{"grant":10}`, 1))
	r.saw(lease("dead", `{"grant":5}`, 1))
	r.saw(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "made"}})
	renew := func(at int) { clk.Step(30 * time.Second); r.saw(lease("a", `{"grant":10}`, at)) }
	renew(2)
	renew(3)
	if r.Holds("grant", 10) {
		t.Error("the Lease of dead lasts, and it is at 5")
	}
	r.saw(lease("dead", `{"grant":5}`, 1)) // seen again, not renewed
	renew(4)
	if !r.Holds("grant", 10) || r.Holds("grant", 11) {
		t.Error("the Lease of dead has run out")
	}
	if old := r.look(); len(old) != 0 {
		t.Errorf("%q are deleted", old)
	}
	clk.Step(forgotten)
	r.saw(lease("a", "no JSON", 5))
	if old := r.look(); len(old) != 1 || old[0] != "dead" {
		t.Errorf("%q are deleted", old)
	}
	if r.Holds("grant", 1) {
		t.Error("what can't be read holds nothing")
	}
	r.left(lease("a", "", 5))
	if r.Holds("grant", 0) {
		t.Error("nobody is everybody")
	}
}

// TestMember_closed: a replica that decides nothing does not renew its Lease.
func TestMember_closed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	p := newPolicy(1)
	p.stopped = true
	c := apiServer.Client(t)
	stop := start(t, (&Member{Client: c, Namespace: "default", Name: "closed", Policy: p, Clock: clock.RealClock{}}).Start)
	g.Consistently(func() error {
		return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "closed"}, &coordinationv1.Lease{})
	}, 2*changeEach).ShouldNot(Succeed())
	stop()
}

// TestMember_notWritten: a replica for which nobody waits is not ready, tries again soon, and does not hang on a request. Where
// nothing can be written it serves all the same.
func TestMember_notWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var tries []time.Duration
		c := fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				switch tries = append(tries, time.Since(began)); len(tries) {
				case 1, 3:
					return apierrors.NewForbidden(coordinationv1.Resource("leases"), "a", errors.New("exceeded quota"))
				case 2: // no answer
					<-ctx.Done()
					return ctx.Err()
				}
				return c.Create(ctx, o, opts...)
			},
		}).Build()
		m := &Member{Client: c, Namespace: "default", Name: "a", Policy: newPolicy(1), MaxAge: time.Minute, Clock: clock.RealClock{}}
		stop := start(t, m.Start)
		time.Sleep(changeEach)
		if m.ReadyCheck(nil) == nil {
			t.Error("ready, and nobody waits for it")
		}
		time.Sleep(patience)
		synctest.Wait()
		if err := m.ReadyCheck(nil); err != nil {
			t.Errorf("the API server can't write: %v", err)
		}
		time.Sleep(changeEach)
		synctest.Wait()
		if m.ReadyCheck(nil) == nil {
			t.Error("ready, and the API server, which can write again, refuses the Lease")
		}
		time.Sleep(changeEach)
		synctest.Wait()
		if err := m.ReadyCheck(nil); err != nil {
			t.Errorf("written: %v", err)
		}
		stop()
		if want := []time.Duration{0, changeEach, 2*changeEach + patience, 3*changeEach + patience}; !slices.Equal(tries, want) {
			t.Errorf("tried after %s, want %s", tries, want)
		}
	})
}

func TestAlone(t *testing.T) {
	t.Parallel()
	p := newPolicy(7)
	a := Alone{p}
	if !a.Holds("grant", 7) || a.Holds("grant", 8) || a.Holds("acl", 1) || a.Subscribe(t.Context()) == nil {
		t.Errorf("holds what it has not: %v", maps.Clone(p.Watermarks()))
	}
	p.stopped = true
	if a.Holds("grant", 7) {
		t.Error("who decides nothing holds nothing")
	}
}
