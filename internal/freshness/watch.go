package freshness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// shortLife is how long a watch lives whose bookmark is wanted soon. The API server sends it two seconds before
	// the end, give or take one.
	shortLife = 5 * time.Second
	// answerTimeout is how long the read before a watch, and the watch's begin, may take. A connection that was cut
	// without a word is found out after this, and not after the 45 seconds of HTTP/2's own health check.
	answerTimeout = 10 * time.Second
	// firstRetry and lastRetry are the pauses between attempts to begin a watch: short, because nothing is decided
	// meanwhile.
	firstRetry, lastRetry = 200 * time.Millisecond, 2 * time.Second
	// pageSize is how many objects are in one answer to a list: some 15 MB of Grants. An answer is all in memory
	// before the first of them is read.
	pageSize = 5_000
	// tellEach is how often the log has it that attempts fail.
	tellEach = 10 * time.Second
)

// view is what one informer holds. The monitor's lock guards what changes.
type view struct {
	monitor *Monitor
	kind    string
	nobody  string // a field selector
	source  toolscache.ListerWatcherWithContext

	isProven    bool
	proven      time.Duration // the moment at which the view was the API server's
	firstListed uint64        // the resource version of the first list
	listed      uint64        // the resource version of the last list

	applyingUntil time.Duration // the moment up to which what that list brought may not be decided by; 0 for the first list
}

// applies reports whether what a list brought, which was not the first, may not be decided by yet.
func (v *view) applies() bool {
	v.monitor.mu.Lock()
	defer v.monitor.mu.Unlock()
	return v.monitor.now() < v.applyingUntil
}

// age is how old the view is.
func (v *view) age(now time.Duration) time.Duration {
	v.monitor.mu.Lock()
	defer v.monitor.mu.Unlock()
	return now - v.proven
}

// kindOf names a kind for metrics. The batch/v1 Jobs of runs are children.
func kindOf(object runtime.Object) string {
	switch object.(type) {
	case *v1alpha1.ACL:
		return "acl"
	case *v1alpha1.Grant:
		return "grant"
	case *v1alpha1.Group:
		return "group"
	case *v1alpha1.Job:
		return "job"
	case *v1alpha1.JobRun:
		return "jobrun"
	case *batchv1.Job:
		return "child"
	}
	if of := object.GetObjectKind().GroupVersionKind(); of.Group != batchv1.GroupName {
		return strings.ToLower(of.Kind) // metadata of pods
	}
	return "child"
}

// lister has the reflector list, where it would have the API server send all objects as events of a watch. Each of those
// is a message with another one in it, and reading them takes twice the time.
type lister struct{ toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is for the reflector.
func (*lister) IsWatchListSemanticsUnSupported() bool { return true }

// listWatch is the informer's source, followed.
func (v *view) listWatch() toolscache.ListerWatcher {
	return &lister{toolscache.ListWatch{ListWithContextFunc: v.list, WatchFuncWithContext: v.watch}}
}

// list lists everything, page by page. All pages are of the first one's version; should the API server have forgotten that
// meanwhile, everything comes anew in one answer.
func (v *view) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.ResourceVersion, o.ResourceVersionMatch, o.Limit = "", "", pageSize // as of now, or it would prove nothing
	return persist(ctx, v, "list", func() (runtime.Object, error) {
		began := v.monitor.now()
		// A list may take long: whether the API server answers is found out before. And until its cache is full, which that
		// waits for, it would read each page from etcd.
		if _, err := v.read(ctx); err != nil {
			return nil, err
		}
		list, _, err := pager.New(v.source.ListWithContext).ListWithAlloc(ctx, o) // else one object would keep its whole page
		if err != nil {
			return nil, err
		}
		whole, err := meta.ListAccessor(list)
		if err != nil {
			return nil, err
		}
		v.wasListed(versionOf(whole.GetResourceVersion()), began)
		return list, nil
	})
}

// wasListed takes note of a complete list. Only the first proves something: what a later one brings is applied
// some time after it has come, and until then the view is the old one.
func (v *view) wasListed(version uint64, began time.Duration) {
	v.monitor.mu.Lock()
	v.listed = version
	first := !v.isProven
	if first {
		v.firstListed = version
	} else {
		v.applyingUntil = v.monitor.now() + shortLife
	}
	listed := v.monitor.listed
	v.monitor.mu.Unlock()
	for _, call := range listed {
		call(v.kind, version)
	}
	if first {
		v.monitor.prove(v, began)
	}
}

// watch begins a watch.
func (v *view) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return persist(ctx, v, "begin a watch", func() (watch.Interface, error) { return v.tryWatch(ctx, o) })
}

// persist does something for a view. It returns what the API server refuses, which the reflector knows how to handle, and
// tries again by itself what did not get through to it: where the last watch ended is still known, and nothing needs to
// be listed anew.
func persist[T any](ctx context.Context, v *view, what string, do func() (T, error)) (T, error) {
	told := time.Duration(0)
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		done, err := do()
		if err == nil || ctx.Err() != nil || isAnswer(err) {
			return done, err
		}
		if now := v.monitor.now(); told == 0 || now-told >= tellEach {
			told = now
			v.monitor.log.Info("Could not "+what, "kind", v.kind, "error", err.Error(), "age", v.age(now).Round(time.Second))
		}
		select {
		case <-ctx.Done():
			return done, err
		case <-time.After(pause): //nolint:forbidigo // a pause, not a decision
		}
	}
}

// isAnswer reports whether an error came from the API server, other than for being too busy or on its way up or down.
func isAnswer(err error) bool {
	return apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && !apierrors.IsServiceUnavailable(err) &&
		!apierrors.IsTooManyRequests(err) && !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err)
}

func (v *view) tryWatch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	q := question{asked: v.monitor.now(), isApplying: v.applies()}
	present, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	switch have := versionOf(o.ResourceVersion); {
	case have > present: // it was told before it was asked: only a restored etcd is behind what it has said
		return nil, apierrors.NewResourceExpired(fmt.Sprintf("what is held is of resource version %d, and the API server is at %d", have, present))
	case have == present && have > 0 && !q.isApplying:
		v.monitor.prove(v, q.asked) // nothing has happened since, and no bookmark will say so
	}
	q.present = present
	q.life = v.monitor.lifetime(v)
	if q.isApplying {
		q.life = shortLife
	}
	o.TimeoutSeconds = new(int64(q.life / time.Second))
	ctx, cancel := context.WithCancelCause(ctx)
	timeout := time.AfterFunc(answerTimeout, func() { cancel(errNoAnswer) })
	w, err := v.source.WatchWithContext(ctx, o)
	if !timeout.Stop() && err == nil {
		w.Stop()
		err = errNoAnswer
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	return v.follow(w, cancel, q), nil
}

// nobody is no object's name: the API server takes no such name. With a namespace it looks up that one key, and does not
// go through all objects of a kind; any namespace will do.
const (
	nobody      = "metadata.name=-"
	nobodyThere = nobody + ",metadata.namespace=default"
)

// selectorOfNobody selects no object of a kind, at the least cost to the API server. The kinds of a cluster have no
// namespace to select by.
func selectorOfNobody(of runtime.Object) string {
	switch of.(type) {
	case *v1alpha1.ACL, *v1alpha1.Grant, *v1alpha1.Group:
		return nobody
	}
	return nobodyThere
}

// read returns the resource version at which the API server is, as of now. It must ask etcd about that: one that is
// cut off from etcd keeps watches open and sends bookmarks. And it brings its own view of the kind up to date, without
// which there would be no bookmark to come for a kind of which nothing changes.
func (v *view) read(ctx context.Context) (present uint64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	list, err := v.source.ListWithContext(ctx, metav1.ListOptions{FieldSelector: v.nobody})
	if err != nil {
		return 0, err
	}
	page, err := meta.ListAccessor(list)
	if err != nil {
		return 0, err
	}
	return versionOf(page.GetResourceVersion()), nil
}

var errNoAnswer = errors.New("the API server does not answer")

// versionOf is a resource version as a number, or 0 for none. Those of one kind can be compared.
func versionOf(version string) uint64 {
	number, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// brokenStream is how client-go tells that a watch's stream can't be read any further.
const brokenStream = "ClientWatchDecoding"

// question is what a watch is to answer: what has happened up to a version, which was the present one at a moment.
type question struct {
	asked   time.Duration
	present uint64
	life    time.Duration // after which the API server ends it
	// isApplying says that there has just been a list, not the first: what it brought may not be decided by yet when the
	// watch's first events come. It proves nothing; the first one that begins shortLife after the list does.
	isApplying bool
}

// followed passes on the events of a watch.
type followed struct {
	watch.Interface
	events chan watch.Event
	done   chan struct{}
	stop   func()
}

func (f *followed) ResultChan() <-chan watch.Event { return f.events }

func (f *followed) Stop() { f.stop() }

func (f *followed) isStopped() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// follow learns from the events of a watch, which come in the order of their versions.
func (v *view) follow(w watch.Interface, cancel context.CancelCauseFunc, q question) watch.Interface {
	f := &followed{Interface: w, events: make(chan watch.Event), done: make(chan struct{})}
	f.stop = sync.OnceFunc(func() {
		close(f.done)
		w.Stop()
		cancel(nil)
	})
	time.AfterFunc(q.life+answerTimeout, f.stop) // whoever stands between may keep a watch open that is over
	go func() {
		defer close(f.events)
		answered := q.isApplying
		for event := range w.ResultChan() {
			if (event.Type == watch.Error && apierrors.HasStatusCause(apierrors.FromObject(event.Object), brokenStream)) || f.isStopped() {
				return // the connection is gone: the next watch goes on where this one was
			}
			select {
			case <-f.done:
				return
			case f.events <- event:
			}
			if !answered && reached(event) >= max(q.present, 1) {
				answered = true
				v.monitor.prove(v, q.asked)
			}
		}
	}()
	return f
}

// reached is an event's version, or 0 if it has none.
func reached(event watch.Event) (version uint64) {
	object, err := meta.Accessor(event.Object)
	if err != nil || event.Type == watch.Error {
		return 0
	}
	return versionOf(object.GetResourceVersion())
}
