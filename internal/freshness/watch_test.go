package freshness

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/watchlist"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &apiServer)) }

// waitFor bounds what comes about within a few lives of a watch.
const waitFor = time.Minute

// startInformers runs a cache of a real API server until the test ends, whose informers a monitor follows.
func startInformers(t *testing.T, m *Monitor) cache.Cache {
	t.Helper()
	g := NewWithT(t)
	informers, err := cache.New(apiServer.Require(t), cache.Options{Scheme: grantrytesting.Scheme, NewInformer: m.NewInformer})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- informers.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Expect(<-ended).To(Succeed())
	})
	return informers
}

// TestInformer_isProvenWithoutEvents: on a real API server, a kind of which nothing changes is proven again and again,
// and what does change comes, in order, over the ends of watches.
func TestInformer_isProvenWithoutEvents(t *testing.T) {
	g := NewWithT(t)
	m := New(MinLimit, clock.RealClock{}, logr.Discard())
	ctx, informers := t.Context(), startInformers(t, m)
	informer, err := informers.GetInformer(ctx, &v1alpha1.Grant{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(informer.HasSynced, waitFor).Should(BeTrue())

	proofs := func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.views[0].proven
	}
	g.Expect(proofs()).To(BeNumerically(">", 0), "the first list is a proof")
	g.Expect(lastListed(m)).To(BeNumerically(">", 0))
	for range 2 {
		last := proofs()
		g.Eventually(proofs, waitFor).Should(BeNumerically(">", last), "a bookmark on a later watch")
	}
	listed := lastListed(m)
	c := apiServer.Client(t)
	grant := &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: v1alpha1.GrantSpec{
		ACL: "dev", Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}}, Actions: []v1alpha1.Action{v1alpha1.ActionRead},
	}}
	g.Expect(c.Create(ctx, grant)).To(Succeed())
	g.Eventually(func() error { return informers.Get(ctx, client.ObjectKeyFromObject(grant), &v1alpha1.Grant{}) }, waitFor).Should(Succeed())
	g.Expect(c.Delete(ctx, grant)).To(Succeed())
	g.Expect(lastListed(m)).To(Equal(listed), "nothing was listed anew")
	version, err := strconv.ParseUint(grant.ResourceVersion, 10, 64)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(version).To(BeNumerically(">", listed))
}

// lastListed is the version of the last list of Grants.
func lastListed(m *Monitor) uint64 {
	_, last := m.Listed("grant")
	return last
}

// kinds are what the operator watches, by the names that metrics give them.
func kinds() map[string]client.Object {
	of := func(group, kind string) client.Object {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind})
		return o
	}
	return map[string]client.Object{
		"acl": &v1alpha1.ACL{}, "grant": &v1alpha1.Grant{}, "group": &v1alpha1.Group{}, "job": &v1alpha1.Job{}, "jobrun": &v1alpha1.JobRun{},
		"child": of("batch", "Job"), "pod": of("", "Pod"),
	}
}

// TestInformer_ofEachKind: the API server takes the question of every kind.
func TestInformer_ofEachKind(t *testing.T) {
	g := NewWithT(t)
	m := New(MinLimit, clock.RealClock{}, logr.Discard())
	ctx, informers := t.Context(), startInformers(t, m)
	for kind, object := range kinds() {
		_, err := informers.GetInformer(ctx, object)
		g.Expect(err).NotTo(HaveOccurred(), kind)
	}
	proven := func() map[string]time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		at := map[string]time.Duration{}
		for _, v := range m.views {
			at[v.kind] = v.proven
		}
		return at
	}
	listed := proven()
	g.Expect(listed).To(HaveLen(len(kinds())))
	g.Eventually(func(g Gomega) {
		for kind, at := range proven() {
			g.Expect(at).To(BeNumerically(">", listed[kind]), kind)
		}
	}, waitFor).Should(Succeed(), "proven by more than its list")
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for want, object := range kinds() {
		if got := kindOf(object); got != want {
			t.Errorf("%T: %q, want %q", object, got, want)
		}
	}
}

// scripted is a source that fails as often as it is told to.
type scripted struct {
	reads, watches atomic.Int32 // so many fail, one after the other
	err            error
	present        string             // the version that a list has
	pages          [][]v1alpha1.Grant // that it has still to give of the list; nil is one that is forgotten
	listed, asked  metav1.ListOptions
	watch          *watch.FakeWatcher
}

func (s *scripted) ListWithContext(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
	s.listed = o
	if s.reads.Add(-1) >= 0 {
		return nil, s.err
	}
	list := &v1alpha1.GrantList{ListMeta: metav1.ListMeta{ResourceVersion: s.present}}
	if o.FieldSelector != "" || len(s.pages) == 0 { // a read, or one page that is empty
		return list, nil
	}
	page := s.pages[0]
	if s.pages = s.pages[1:]; page == nil {
		return nil, apierrors.NewResourceExpired("forgotten")
	}
	list.Items = page
	if o.Limit > 0 && len(s.pages) > 0 {
		list.Continue = "page"
		s.present += "0" // a page says its own version if it is not the first's
	}
	return list, nil
}

func (s *scripted) WatchWithContext(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if s.watches.Add(-1) >= 0 {
		return nil, s.err
	}
	s.asked = o
	return s.watch, nil
}

func newScripted(err error, reads, watches int32) (*scripted, *view) {
	s := &scripted{err: err, watch: watch.NewFake(), present: "9"}
	s.reads.Store(reads)
	s.watches.Store(watches)
	m := New(time.Minute, clock.RealClock{}, logr.Discard())
	v := &view{monitor: m, kind: "grant", nobody: nobody, source: s}
	m.views = []*view{v}
	return s, v
}

// TestList_asOfNow: what may be of any time, as a reflector asks for it, would prove nothing.
func TestList_asOfNow(t *testing.T) {
	t.Parallel()
	s, v := newScripted(nil, 0, 0)
	before := v.monitor.now()
	source := v.listWatch()
	if _, err := toolscache.ToListerWatcherWithContext(source).ListWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "0", Limit: 500}); err != nil {
		t.Fatal(err)
	}
	if s.listed.ResourceVersion != "" || s.listed.Limit != pageSize {
		t.Errorf("asked for %+v", s.listed)
	}
	if !v.isProven || v.proven < before || lastListed(v.monitor) != 9 {
		t.Errorf("proven %v, at %s, listed %d", v.isProven, v.proven, lastListed(v.monitor))
	}
	s.present = "12"
	var told uint64
	v.monitor.OnList(func(_ string, version uint64) { told = version })
	proven := v.proven
	if _, err := toolscache.ToListerWatcherWithContext(source).ListWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "9"}); err != nil {
		t.Fatal(err)
	}
	if first, last := v.monitor.Listed("grant"); v.proven != proven || first != 9 || last != 12 {
		t.Errorf("a later list, which is not applied yet, proves something, or was not noted: %d, %d", first, last)
	}
	if told != 12 {
		t.Errorf("told of a list of %d", told)
	}
	if !watchlist.DoesClientNotSupportWatchListSemantics(source) {
		t.Error("the reflector would not list")
	}
}

// TestList_inPages: the informer gets what is on all of them, of the first one's version, and not in the pages' own memory,
// which one object that stays would keep. A page that the API server has forgotten makes it list anew.
func TestList_inPages(t *testing.T) {
	t.Parallel()
	page := func(names ...string) (page []v1alpha1.Grant) {
		for _, name := range names {
			page = append(page, v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}
		return page
	}
	first := page("a", "b")
	for name, pages := range map[string][][]v1alpha1.Grant{
		"all there": {first, page("c"), page("d")}, "forgotten": {page("x"), nil, page("a", "b", "c", "d")},
	} {
		s, v := newScripted(nil, 0, 0)
		s.pages = pages
		list, err := v.list(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			if o == runtime.Object(&first[0]) {
				t.Error("an object of the page itself")
			}
			names = append(names, o.(*v1alpha1.Grant).Name)
			return nil
		})
		if strings.Join(names, "") != "abcd" {
			t.Errorf("%s: %q", name, names)
		}
		if got := lastListed(v.monitor); name == "all there" && got != 9 {
			t.Errorf("%s: version %d", name, got)
		}
	}
}

// TestWatch_afterAnotherList: what was listed anew is not applied yet when the watch after it has its first events, so that
// these prove nothing. Neither do those of the next one if that watch is cut early.
func TestWatch_afterAnotherList(t *testing.T) {
	t.Parallel()
	s, v := newScripted(nil, 0, 0)
	clk := clocktesting.NewFakeClock(noon)
	v.monitor.clock, v.monitor.start = clk, noon
	for range 2 {
		clk.Step(time.Second)
		if _, err := v.list(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	proven := func() time.Duration {
		v.monitor.mu.Lock()
		defer v.monitor.mu.Unlock()
		return v.proven
	}
	watches := func() {
		s.watch = watch.NewFake()
		w, err := v.watch(t.Context(), metav1.ListOptions{ResourceVersion: "9"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		go s.watch.Modify(&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "10"}})
		<-w.ResultChan()
		go s.watch.Modify(&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "11"}})
		<-w.ResultChan() // only now: the first counts after it is passed on
	}
	before := proven()
	s.watches.Store(1)
	s.err = errors.New("connection reset by peer") // the next one that begins is the first
	watches()
	if *s.asked.TimeoutSeconds != int64(shortLife/time.Second) {
		t.Errorf("it lives for %d s", *s.asked.TimeoutSeconds)
	}
	clk.Step(shortLife - 1)
	watches()
	if proven() != before {
		t.Error("a watch right after a list proves something")
	}
	clk.Step(1)
	watches()
	if proven() <= before {
		t.Error("the next one proves nothing")
	}
}

// TestList_triesAgain: a reflector would wait for up to a minute once the API server is there again.
func TestList_triesAgain(t *testing.T) {
	t.Parallel()
	s, v := newScripted(errors.New("connection refused"), 2, 0)
	if _, err := v.list(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	s.reads.Store(1)
	s.err = apierrors.NewForbidden(schema.GroupResource{Resource: "grants"}, "", nil)
	if _, err := v.list(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("what the API server refuses is for the reflector: %v", err)
	}
}

// TestWatch_triesAgainWhatDidNotGetThrough: so that the reflector need not list all Grants anew.
func TestWatch_triesAgainWhatDidNotGetThrough(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"no connection": errors.New("connection reset by peer"), "too busy": apierrors.NewTooManyRequests("later", 1),
		"on its way up": apierrors.NewServiceUnavailable("starting"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, v := newScripted(err, 1, 1)
			w, err := v.watch(t.Context(), metav1.ListOptions{ResourceVersion: "7"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if s.asked.ResourceVersion != "7" || *s.asked.TimeoutSeconds != int64(shortLife/time.Second) {
				t.Errorf("asked for %+v", s.asked)
			}
		})
	}
	gone := apierrors.NewResourceExpired("too old")
	_, v := newScripted(gone, 0, 1)
	if _, err := v.watch(t.Context(), metav1.ListOptions{}); !apierrors.IsResourceExpired(err) {
		t.Errorf("an answer of the API server's is not passed on: %v", err)
	}
	var s *scripted
	s, v = newScripted(nil, 0, 0)
	if _, err := v.watch(t.Context(), metav1.ListOptions{ResourceVersion: "10"}); !apierrors.IsResourceExpired(err) || v.isProven || s.asked.ResourceVersion != "" {
		t.Errorf("an API server behind what it has said, as after a restore: %v, proven %v", err, v.isProven)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, v = newScripted(errors.New("down"), 1, 0)
	if _, err := v.watch(ended, metav1.ListOptions{}); err == nil {
		t.Error("goes on after the end")
	}
}

// TestWatch_proves: a view is proven once it has come as far as the API server was when the watch was asked for.
func TestWatch_proves(t *testing.T) {
	t.Parallel()
	at := func(version string) *v1alpha1.Grant {
		return &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "g", ResourceVersion: version}}
	}
	for name, tc := range map[string]struct {
		from   string
		events []watch.Event
		want   bool
	}{
		"nothing has happened":               {from: "9", want: true},
		"nothing has come":                   {from: "7"},
		"an event":                           {from: "7", events: []watch.Event{{Type: watch.Modified, Object: at("9")}}, want: true},
		"an event that is older":             {from: "7", events: []watch.Event{{Type: watch.Modified, Object: at("8")}}},
		"a bookmark":                         {from: "7", events: []watch.Event{{Type: watch.Added, Object: at("8")}, {Type: watch.Bookmark, Object: at("10")}}, want: true},
		"a bookmark of who is behind":        {from: "7", events: []watch.Event{{Type: watch.Bookmark, Object: at("8")}}},
		"an error":                           {from: "7", events: []watch.Event{{Type: watch.Error, Object: &metav1.Status{Reason: metav1.StatusReasonExpired}}}},
		"something without a version":        {from: "7", events: []watch.Event{{Type: watch.Modified, Object: at("")}}},
		"a watch from the beginning of time": {from: "0", events: []watch.Event{{Type: watch.Added, Object: at("8")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, v := newScripted(nil, 0, 0)
			w, err := v.watch(t.Context(), metav1.ListOptions{ResourceVersion: tc.from})
			if err != nil {
				t.Fatal(err)
			}
			asked := v.monitor.now()
			go func() {
				for _, event := range tc.events {
					s.watch.Action(event.Type, event.Object)
				}
				s.watch.Stop()
			}()
			var got []watch.Event
			for event := range w.ResultChan() {
				got = append(got, event)
			}
			w.Stop()
			w.Stop()
			if !slices.Equal(got, tc.events) {
				t.Errorf("passed on %v", got)
			}
			v.monitor.mu.Lock()
			defer v.monitor.mu.Unlock()
			if v.isProven != tc.want || v.proven > asked {
				t.Errorf("proven %v, at %s; the watch was asked for before %s", v.isProven, v.proven, asked)
			}
		})
	}
}

// TestWatch_brokenStream: the reflector would list everything anew.
func TestWatch_brokenStream(t *testing.T) {
	t.Parallel()
	s, v := newScripted(nil, 0, 0)
	w, err := v.watch(t.Context(), metav1.ListOptions{ResourceVersion: "7"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	go s.watch.Error(apierrors.NewClientErrorReporter(http.StatusInternalServerError, "GET", brokenStream).AsObject(errors.New("reset by peer")))
	if event, open := <-w.ResultChan(); open {
		t.Errorf("passed on %v", event)
	}
}
