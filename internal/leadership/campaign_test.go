package leadership

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &apiServer)) }

const (
	// waitFor bounds what comes about in seconds, on a machine that may stand still for longer than that.
	waitFor = 2 * time.Minute
	// patient is a ReturnTimeout that such a machine does not exceed.
	patient = waitFor
)

// lockOf is the lease of a name, for somebody who contends for it.
func lockOf(t *testing.T, name, identity string) resourcelock.Interface {
	t.Helper()
	clients, err := kubernetes.NewForConfig(apiServer.Require(t))
	if err != nil {
		t.Fatal(err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Client: clients.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
}

// holder is who a lease says has it.
func holder(t *testing.T, name string) string {
	t.Helper()
	lease := &coordinationv1.Lease{}
	if err := apiServer.Client(t).Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, lease); err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// diary is what happened, in order.
type diary struct {
	mu     sync.Mutex
	events []string
}

func (d *diary) note(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, event)
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.events...)
}

// worker is the work of a replica that notes when it begins, when it is told to end, and when it has.
func worker(d *diary, who string, takes time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		d.note(who + " begins")
		<-ctx.Done()
		d.note(who + " is told to end")
		time.Sleep(takes)
		d.note(who + " has ended")
		return nil
	}
}

// run starts a campaign, and returns what ends it and waits for that.
func run(t *testing.T, c *Campaign) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the campaign ended with: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestCampaign_handsOver: who is told to end finishes its work, then gives the lease back, and the next one begins.
func TestCampaign_handsOver(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	d := &diary{}
	const long, longer = 30 * time.Second, 40 * time.Second // no term ends because the machine stands still
	stop := run(t, &Campaign{
		Lock: lockOf(t, "hand-over", "one"), Work: worker(d, "one", 300*time.Millisecond),
		RenewDeadline: long, LeaseDuration: longer, ReturnTimeout: patient,
	})
	g.Eventually(d.all).Should(Equal([]string{"one begins"}))
	run(t, &Campaign{Lock: lockOf(t, "hand-over", "two"), Work: worker(d, "two", 0), RenewDeadline: long, LeaseDuration: longer})
	g.Consistently(d.all, 3*time.Second).Should(HaveLen(1), "the lease is held")
	stop()
	g.Expect(holder(t, "hand-over")).NotTo(Equal("one"), "it was given back")
	g.Eventually(d.all).Should(Equal([]string{"one begins", "one is told to end", "one has ended", "two begins"}))
}

// TestCampaign_takenAway: somebody writes another holder into the lease. The work ends, the campaign does not, and
// leads again when that holder is gone.
func TestCampaign_takenAway(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	d := &diary{}
	run(t, &Campaign{Lock: lockOf(t, "taken", "one"), Work: worker(d, "one", 0)})
	g.Eventually(d.all).Should(ContainElement("one begins"))
	intruder := lockOf(t, "taken", "intruder")
	g.Eventually(func() error {
		record, _, err := intruder.Get(t.Context())
		if err != nil {
			return err
		}
		record.HolderIdentity, record.LeaseDurationSeconds = "intruder", 3
		return intruder.Update(t.Context(), *record)
	}).Should(Succeed(), "the leader may renew it in the same moment")
	g.Eventually(func() int { return len(d.all()) }).Should(BeNumerically(">=", 4))
	g.Expect(d.all()[:4]).To(Equal([]string{"one begins", "one is told to end", "one has ended", "one begins"}))
	g.Eventually(func() string { return holder(t, "taken") }).Should(Equal("one"))
}

// TestCampaign_deleted: somebody deletes the lease, and another replica may have been the one to create it anew. The
// work ends, and the next term comes.
func TestCampaign_deleted(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	d := &diary{}
	const long, longer = 30 * time.Second, 40 * time.Second // no term ends because the machine stands still
	run(t, &Campaign{Lock: lockOf(t, "deleted", "one"), Work: worker(d, "one", 0), RenewDeadline: long, LeaseDuration: longer, ReturnTimeout: patient})
	g.Eventually(d.all).Should(ContainElement("one begins"))
	g.Expect(apiServer.Client(t).Delete(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deleted"}})).To(Succeed())
	g.Eventually(d.all).Should(HaveLen(4))
	g.Expect(d.all()).To(Equal([]string{"one begins", "one is told to end", "one has ended", "one begins"}))
}

// renewedMeanwhile is a lease that is renewed once more just before it is given back, as the API server may do with a
// renewal that its sender has given up.
type renewedMeanwhile struct {
	resourcelock.Interface
	late  resourcelock.Interface
	times atomic.Int32
}

func (r *renewedMeanwhile) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" && r.times.Add(1) == 1 {
		held, _, err := r.late.Get(ctx)
		if err != nil {
			return err
		}
		held.RenewTime = metav1.NewTime(held.RenewTime.Add(time.Second)) // or nothing would be written
		if err := r.late.Update(ctx, *held); err != nil {
			return err
		}
	}
	return r.Interface.Update(ctx, record)
}

// TestCampaign_lateRenewal: a renewal that arrives after its sender has given it up does not keep the lease.
func TestCampaign_lateRenewal(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	d := &diary{}
	lock := &renewedMeanwhile{Interface: lockOf(t, "late", "one"), late: lockOf(t, "late", "one")}
	const long, longer = 30 * time.Second, 40 * time.Second
	stop := run(t, &Campaign{Lock: lock, Work: worker(d, "one", 0), RenewDeadline: long, LeaseDuration: longer, ReturnTimeout: patient})
	g.Eventually(d.all).Should(ContainElement("one begins"))
	stop()
	g.Expect(holder(t, "late")).To(BeEmpty())
	g.Expect(lock.times.Load()).To(BeEquivalentTo(2), "there was a conflict")
}

// failing is a lease that can't be written while it fails. What it is given back with is noted.
type failing struct {
	resourcelock.Interface
	fails atomic.Bool
	diary *diary
}

func (f *failing) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" {
		f.diary.note("given back")
	}
	if f.fails.Load() {
		return errors.New("no")
	}
	return f.Interface.Update(ctx, record)
}

// TestCampaign_notRenewed: a lease that can't be renewed ends the work before it is given back, and the campaign goes on.
func TestCampaign_notRenewed(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	d := &diary{}
	lock := &failing{Interface: lockOf(t, "not-renewed", "one"), diary: d}
	run(t, &Campaign{
		Lock: lock, Work: worker(d, "one", 300*time.Millisecond),
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
	})
	g.Eventually(d.all).Should(ContainElement("one begins"))
	lock.fails.Store(true)
	failed := len(d.all())
	g.Eventually(func() []string { return d.all()[failed:] }).Should(ContainElement("given back"))
	lock.fails.Store(false)
	again := len(d.all())
	g.Eventually(func() []string { return d.all()[again:] }).Should(ContainElement("one begins"))
	atWork := 0 // whatever the machine did meanwhile
	for i, event := range d.all() {
		switch event {
		case "one begins":
			atWork++
		case "one has ended":
			atWork--
		case "given back":
			if atWork != 0 {
				t.Errorf("event %d: the lease is given back while somebody works by it: %q", i, d.all())
			}
		}
	}
}

// TestCampaign_workFails: an error ends the term, somebody may have the lease, and the next term comes.
func TestCampaign_workFails(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	var terms atomic.Int32
	stop := run(t, &Campaign{Lock: lockOf(t, "work-fails", "one"), RetryPeriod: 100 * time.Millisecond, ReturnTimeout: patient, Work: func(ctx context.Context) error {
		if terms.Add(1) < 3 {
			return errors.New("no")
		}
		<-ctx.Done()
		return nil
	}})
	g.Eventually(terms.Load).Should(BeEquivalentTo(3))
	stop()
	g.Expect(holder(t, "work-fails")).To(BeEmpty())
}

// TestCampaign_withoutElection: there is one term, and its error is the campaign's.
func TestCampaign_withoutElection(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	prepared := false
	c := &Campaign{
		Prepare: func(context.Context) error { prepared = true; return nil },
		Work: func(context.Context) error {
			if !prepared {
				t.Error("the work begins unprepared")
			}
			return no
		},
	}
	if err := c.Start(t.Context()); !errors.Is(err, no) {
		t.Errorf("it ended with: %v", err)
	}
	c.Prepare = func(context.Context) error { return no }
	c.Work = func(context.Context) error { t.Error("who is not prepared works"); return nil }
	if err := c.Start(t.Context()); !errors.Is(err, no) {
		t.Errorf("it ended with: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Start(ended); err != nil {
		t.Errorf("told to end while it prepared, it ended with: %v", err)
	}
}
