package policystore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

const (
	waitFor  = 20 * time.Second
	lookEach = 5 * time.Millisecond
	settle   = 300 * time.Millisecond
)

var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) {
	os.Exit(grantrytesting.Main(m, &apiServer))
}

// morning is where fake clocks start.
var morning = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// world is an API server whose policy objects are this test's alone.
type world struct {
	*WithT
	client.Client
	clock *clocktesting.FakeClock
	rule  policystore.Rule
	store *policystore.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{WithT: NewWithT(t), Client: apiServer.Client(t), clock: clocktesting.NewFakeClock(morning)}
	w.SetDefaultEventuallyTimeout(waitFor)
	w.SetDefaultEventuallyPollingInterval(lookEach)
	w.SetDefaultConsistentlyDuration(settle)
	w.SetDefaultConsistentlyPollingInterval(lookEach)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, kind := range []client.Object{&v1alpha1.ACL{}, &v1alpha1.Grant{}, &v1alpha1.Group{}} {
			if err := w.DeleteAllOf(ctx, kind); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	})
	return w
}

// start runs a new store with informers of its own until the test ends or stop is called.
func (w *world) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	informers, err := cache.New(apiServer.Require(t), cache.Options{Scheme: grantrytesting.Scheme})
	w.Expect(err).NotTo(HaveOccurred())
	store := policystore.New(informers, w.clock)
	store.Rule = w.rule
	ended := make(chan error, 2)
	go func() { ended <- informers.Start(ctx) }()
	go func() { ended <- store.Start(ctx) }()
	stop = func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Errorf("the store or its informers ended with: %v", err)
			}
		}
		ended = make(chan error) // has no capacity: a second stop waits for nothing
	}
	t.Cleanup(func() { stop() })
	w.store = store
	return stop
}

// startSynced is start, and waits until the store has loaded the policy.
func (w *world) startSynced(t *testing.T) (stop func()) {
	t.Helper()
	stop = w.start(t)
	w.Eventually(w.store.Synced).Should(BeTrue(), "the policy is loaded")
	return stop
}

func (w *world) create(t *testing.T, objs ...client.Object) {
	t.Helper()
	for _, obj := range objs {
		w.Expect(w.Create(t.Context(), obj)).To(Succeed())
	}
}

// may asks the present snapshot, at the time of the fake clock.
func (w *world) may(who, job string, action permission.Actions, groups ...string) func() bool {
	return func() bool {
		return w.store.Snapshot().Decide(effective.Query{
			User: effective.UserSubject(who), Groups: groups,
			Resource: permission.JobResource("metronome", job), AnyOf: action, At: w.clock.Now(),
		}).Allowed
	}
}

func acl(name, path string) *v1alpha1.ACL {
	return &v1alpha1.ACL{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:" + path},
	}
}

func grant(name, aclName string, to v1alpha1.Subject, actions ...v1alpha1.Action) *v1alpha1.Grant {
	return &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GrantSpec{
		ACL: aclName, Subjects: []v1alpha1.Subject{to}, Actions: actions,
	}}
}

func group(name string, members ...v1alpha1.Subject) *v1alpha1.Group {
	return &v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GroupSpec{Members: members}}
}

func TestStore_isNotReadyBeforeItHasEverything(t *testing.T) {
	w := newWorld(t)
	const grants = 50
	w.create(t, acl("dev", "dev"), group("devs", user("carol")), grant("carol", "dev", groupSubject("devs"), v1alpha1.ActionRead))
	for i := range grants {
		w.create(t, grant(fmt.Sprintf("g%d", i), "dev", user(fmt.Sprintf("user%d", i)), v1alpha1.ActionRead))
	}
	w.start(t)
	// Whatever is seen first is the whole.
	for w.store.Snapshot() == nil {
		if err := w.store.ReadyCheck(nil); err != nil && !errors.Is(err, policystore.ErrNotSynced) {
			t.Fatalf("ReadyCheck() = %v, want ErrNotSynced", err)
		}
		time.Sleep(time.Millisecond) // a busy loop would keep the store from the processor
	}
	got := w.store.Snapshot().Counts()
	w.Expect(got.ACLs).To(Equal(1))
	w.Expect(got.Grants).To(Equal(grants + 1))
	w.Expect(got.Groups).To(Equal(1))
	w.Expect(w.may("carol", "dev.batch", permission.Read)()).To(BeTrue())
	w.Expect(w.store.Synced()).To(BeTrue())
	w.Expect(w.store.ReadyCheck(nil)).To(Succeed())
	w.Expect(w.store.NeedLeaderElection()).To(BeFalse())
}

func TestStore_isSyncedWithNothing(t *testing.T) {
	w := newWorld(t)
	w.startSynced(t)
	w.Expect(w.store.WaitSynced(t.Context())).To(Succeed())
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())
}

func TestStore_stopsBeforeItIsSynced(t *testing.T) {
	w := newWorld(t)
	informers, err := cache.New(apiServer.Require(t), cache.Options{Scheme: grantrytesting.Scheme})
	w.Expect(err).NotTo(HaveOccurred())
	store := policystore.New(informers, w.clock) // of informers that never start
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Expect(store.Start(ctx)).To(Succeed())
	w.Expect(store.Synced()).To(BeFalse())
	w.Expect(store.ReadyCheck(nil)).To(MatchError(policystore.ErrNotSynced))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.Expect(store.WaitSynced(ended)).To(MatchError(policystore.ErrNotSynced))
}

func TestStore_followsGrants(t *testing.T) {
	w := newWorld(t)
	w.startSynced(t)
	w.create(t, acl("dev", "dev"))
	given := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	w.create(t, given)
	w.Eventually(w.may("alice", "dev.batch", permission.Read)).Should(BeTrue())
	w.Expect(w.may("alice", "dev.batch", permission.Update)()).To(BeFalse())
	w.Expect(w.may("alice", "devel", permission.Read)()).To(BeFalse())

	given.Spec.Actions = []v1alpha1.Action{v1alpha1.ActionUpdate}
	w.Expect(w.Update(t.Context(), given)).To(Succeed())
	w.Eventually(w.may("alice", "dev.batch", permission.Update)).Should(BeTrue())
	w.Expect(w.may("alice", "dev.batch", permission.Read)()).To(BeFalse())

	w.Expect(w.Delete(t.Context(), given)).To(Succeed())
	w.Eventually(w.may("alice", "dev.batch", permission.Update)).Should(BeFalse())
}

func TestStore_aGrantCountsOnceItsACLIsThere(t *testing.T) {
	w := newWorld(t)
	w.startSynced(t)
	protected := acl("dev", "dev")
	w.create(t, grant("alice", "dev", user("alice"), v1alpha1.ActionRead))
	w.Consistently(w.may("alice", "dev", permission.Read)).Should(BeFalse())
	w.create(t, protected)
	w.Eventually(w.may("alice", "dev", permission.Read)).Should(BeTrue())
	w.Expect(w.Delete(t.Context(), protected)).To(Succeed())
	w.Eventually(w.may("alice", "dev", permission.Read)).Should(BeFalse())
	w.create(t, acl("dev", "other"))
	w.Eventually(w.may("alice", "other", permission.Read)).Should(BeTrue())
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())
}

func TestStore_servesTheRestOfABrokenPolicy(t *testing.T) {
	w := newWorld(t)
	half := grant("half", "dev", user("  "), v1alpha1.ActionRead)
	half.Spec.Subjects = append(half.Spec.Subjects, user("bob"))
	w.create(t, acl("broken", "dev..batch"), acl("dev", "dev"), half,
		grant("alice", "broken", user("alice"), v1alpha1.ActionFull), grant("lost", "nowhere", user("alice"), v1alpha1.ActionFull))
	w.startSynced(t)
	w.Expect(w.store.Snapshot().HasACL("broken")).To(BeFalse())
	w.Expect(w.may("bob", "dev", permission.Read)()).To(BeTrue())
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())

	// The same objects after the load: they come as events.
	w.create(t, acl("broken-too", "dev..batch"), grant("eve", "broken-too", user("eve"), v1alpha1.ActionFull),
		grant("carol", "dev", user("carol"), v1alpha1.ActionRead))
	w.Eventually(w.may("carol", "dev", permission.Read)).Should(BeTrue())
	w.Expect(w.store.Snapshot().HasACL("broken-too")).To(BeFalse())
	w.Expect(w.may("eve", "dev", permission.Read)()).To(BeFalse())
}

func TestStore_followsGroups(t *testing.T) {
	w := newWorld(t)
	w.create(t, acl("dev", "dev"), grant("devs", "dev", groupSubject("devs"), v1alpha1.ActionRead))
	w.startSynced(t)
	w.Expect(w.may("alice", "dev", permission.Read, "devs")()).To(BeTrue(), "the authenticator's groups count")
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())

	devs := group("devs", user("alice"))
	w.create(t, devs)
	w.Eventually(w.may("alice", "dev", permission.Read)).Should(BeTrue())
	devs.Spec.Members = []v1alpha1.Subject{serviceAccount("ci", "bot")}
	w.Expect(w.Update(t.Context(), devs)).To(Succeed())
	w.Eventually(w.may("alice", "dev", permission.Read)).Should(BeFalse())
	w.Expect(w.may("system:serviceaccount:ci:bot", "dev", permission.Read)()).To(BeTrue())
	w.Expect(w.Delete(t.Context(), devs)).To(Succeed())
	w.Eventually(w.may("system:serviceaccount:ci:bot", "dev", permission.Read)).Should(BeFalse())
}

func TestStore_whatIsBeingDeletedIsGone(t *testing.T) {
	w := newWorld(t)
	w.create(t, acl("dev", "dev"))
	held := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	held.Finalizers = []string{"example.com/hold"}
	w.create(t, held)
	release := func() {
		ctx := context.WithoutCancel(t.Context())
		w.Expect(w.Get(ctx, client.ObjectKeyFromObject(held), held)).To(Succeed())
		held.Finalizers = nil
		w.Expect(w.Update(ctx, held)).To(Succeed())
	}
	t.Cleanup(release)
	stop := w.startSynced(t)
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeTrue())
	w.Expect(w.Delete(t.Context(), held)).To(Succeed())
	w.Eventually(w.may("alice", "dev", permission.Read)).Should(BeFalse())

	stop()
	w.startSynced(t)
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse(), "nor does the first load count it")
}

func TestStore_learnsWhatHappenedWhileItWasDown(t *testing.T) {
	w := newWorld(t)
	gone := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	w.create(t, acl("dev", "dev"), gone)
	stop := w.startSynced(t)
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeTrue())
	stop()

	w.Expect(w.Delete(t.Context(), gone)).To(Succeed())
	w.create(t, grant("bob", "dev", user("bob"), v1alpha1.ActionRead))
	w.startSynced(t)
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())
	w.Expect(w.may("bob", "dev", permission.Read)()).To(BeTrue())
}

func TestStore_windowsOpenAndCloseByThemselves(t *testing.T) {
	w := newWorld(t)
	opens, closes := metav1.NewTime(morning.Add(time.Hour)), metav1.NewTime(morning.Add(2*time.Hour))
	windowed := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	windowed.Spec.NotBefore, windowed.Spec.ExpiresAt = &opens, &closes
	w.create(t, acl("dev", "dev"), windowed)
	w.startSynced(t)
	changed := w.store.Subscribe(t.Context())
	asleep := func() { w.Eventually(w.clock.HasWaiters).Should(BeTrue(), "the store sleeps") }

	asleep()
	w.clock.SetTime(opens.Add(-time.Second))
	w.Consistently(changed).ShouldNot(Receive(), "nothing changes before the edge")
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())
	asleep()
	w.clock.SetTime(opens.Time)
	w.Eventually(changed).Should(Receive(), "the window opens")
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeTrue())
	asleep()
	w.clock.SetTime(closes.Time)
	w.Eventually(changed).Should(Receive(), "the window closes")
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeFalse())
	asleep()
	w.clock.Step(24 * time.Hour)
	w.Consistently(changed).ShouldNot(Receive(), "there are no edges left")
}

func TestStore_aChangedWindowForgetsItsOldEdge(t *testing.T) {
	w := newWorld(t)
	first, second := metav1.NewTime(morning.Add(time.Hour)), metav1.NewTime(morning.Add(3*time.Hour))
	windowed := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	windowed.Spec.ExpiresAt = &first
	w.create(t, acl("dev", "dev"), windowed)
	w.startSynced(t)
	windowed.Spec.ExpiresAt = &second
	changed := w.store.Subscribe(t.Context())
	w.Expect(w.Update(t.Context(), windowed)).To(Succeed())
	w.Eventually(changed).Should(Receive())
	w.Eventually(w.clock.HasWaiters).Should(BeTrue())
	w.clock.SetTime(first.Add(time.Minute))
	w.Consistently(changed).ShouldNot(Receive(), "nothing ends any more at the old time")
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeTrue())
}

func TestStore_aClockThatIsSetBackPassesAnEdgeAgain(t *testing.T) {
	w := newWorld(t)
	closes := metav1.NewTime(morning.Add(time.Hour))
	windowed := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	windowed.Spec.ExpiresAt = &closes
	w.create(t, acl("dev", "dev"), windowed)
	w.startSynced(t)
	changed := w.store.Subscribe(t.Context())
	w.Eventually(w.clock.HasWaiters).Should(BeTrue())
	w.clock.SetTime(closes.Add(time.Hour))
	w.Eventually(changed).Should(Receive())
	w.clock.SetTime(morning) // as a timer does not notice; the next event does
	w.create(t, acl("other", "other"))
	w.Eventually(changed).Should(Receive())
	w.Eventually(w.clock.HasWaiters).Should(BeTrue())
	w.Expect(w.may("alice", "dev", permission.Read)()).To(BeTrue())
	w.clock.SetTime(closes.Add(time.Hour))
	w.Eventually(changed).Should(Receive())
}

func TestStore_aStatusIsNoChange(t *testing.T) {
	w := newWorld(t)
	given := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	w.create(t, acl("dev", "dev"), given)
	w.startSynced(t)
	before, changed := w.store.Snapshot(), w.store.Subscribe(t.Context())
	given.Status.ObservedGeneration = given.Generation
	w.Expect(w.Status().Update(t.Context(), given)).To(Succeed())
	w.Consistently(changed).ShouldNot(Receive())
	w.Expect(w.store.Snapshot()).To(BeIdenticalTo(before))
}

func TestStore_tellsWhichACLsHaveOtherNumbers(t *testing.T) {
	w := newWorld(t)
	w.create(t, acl("dev", "dev"), acl("ops", "ops"), acl("idle", "idle"))
	w.start(t)
	changes := w.store.SubscribeACLs(t.Context())
	w.Eventually(w.store.Synced).Should(BeTrue())
	next := func() []string {
		t.Helper()
		w.Eventually(changes.C()).Should(Receive())
		return changes.Take()
	}
	w.Expect(next()).To(Equal([]string{"dev", "idle", "ops"}), "what was loaded is news")

	given := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	w.create(t, given)
	w.Expect(next()).To(Equal([]string{"dev"}))
	w.Expect(w.store.Snapshot().ACLStats("dev").Grants).To(Equal(1), "the numbers are there when the name is")

	given.Spec.Actions = []v1alpha1.Action{v1alpha1.ActionFull}
	w.Expect(w.Update(t.Context(), given)).To(Succeed())
	w.Eventually(w.may("alice", "dev", permission.Update)).Should(BeTrue())
	w.Expect(changes.Take()).To(BeEmpty(), "the same number of grants")

	given.Spec.ACL = "ops"
	w.Expect(w.Update(t.Context(), given)).To(Succeed())
	w.Expect(next()).To(Equal([]string{"dev", "ops"}), "it moved from one to the other")
	w.Expect(w.Delete(t.Context(), given)).To(Succeed())
	w.Expect(next()).To(Equal([]string{"ops"}))
}

func TestStore_eachSubscriberHasItsOwnWakeUps(t *testing.T) {
	w := newWorld(t)
	w.startSynced(t)
	one, other := w.store.Subscribe(t.Context()), w.store.Subscribe(t.Context())
	for i := range 10 {
		w.create(t, acl(fmt.Sprintf("a%d", i), "dev"))
	}
	w.Eventually(func() int { return w.store.Snapshot().Counts().ACLs }).Should(Equal(10))
	w.Eventually(one).Should(Receive())
	w.Eventually(other).Should(Receive(), "nobody takes another's wake-up")
	w.Consistently(one).ShouldNot(Receive(), "what nobody has received yet is one wake-up")
}

// TestStore_isFast reports how long it takes until a Grant counts. The bound is loose: the machine may
// be busy.
func TestStore_isFast(t *testing.T) {
	w := newWorld(t)
	w.create(t, acl("dev", "dev"))
	w.startSynced(t)
	var worst, sum time.Duration
	const rounds = 50
	watch := clock.RealClock{}
	for i := range rounds {
		name := fmt.Sprintf("user%d", i)
		w.create(t, grant(name, "dev", user(name), v1alpha1.ActionRead))
		created := watch.Now()
		for !w.may(name, "dev", permission.Read)() {
			if watch.Since(created) > waitFor {
				t.Fatalf("the Grant %s does not count", name)
			}
			time.Sleep(50 * time.Microsecond)
		}
		took := watch.Since(created)
		worst, sum = max(worst, took), sum+took
	}
	t.Logf("from the answer to create to the snapshot: mean %v, worst of %d %v", sum/rounds, rounds, worst)
	w.Expect(worst).To(BeNumerically("<", 5*time.Second))
}
