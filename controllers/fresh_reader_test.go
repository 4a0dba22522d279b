package controllers

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// slowReader answers each read with what its store holds when the read begins, and only when it is told
// to: as an API server does that is far away.
type slowReader struct {
	client.Reader // nil: only Get is used
	begun         chan string
	answer        chan error

	mu    sync.Mutex
	store map[string]string // name → spec.acl; what is missing is answered with an error
	reads int
}

var errGone = errors.New("gone")

func newSlowReader() *slowReader {
	return &slowReader{begun: make(chan string), answer: make(chan error), store: map[string]string{"g": "before"}}
}

func (r *slowReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	r.mu.Lock()
	r.reads++
	value, found := r.store[key.Name]
	r.mu.Unlock()
	r.begun <- key.Name
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-r.answer:
		if err != nil {
			return err
		}
	}
	if !found {
		return errGone
	}
	obj.SetName(key.Name)
	if grant, ok := obj.(*v1alpha1.Grant); ok {
		grant.Spec.ACL = value
	}
	return nil
}

func (r *slowReader) delete(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.store, name)
}

func (r *slowReader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}

type answer struct {
	grant *v1alpha1.Grant
	err   error
}

// ask reads the Grant in a goroutine of its own.
func ask(ctx context.Context, r *freshReader, name string) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		grant, err := freshGet(ctx, r, types.NamespacedName{Name: name}, &v1alpha1.Grant{})
		answers <- answer{grant, err}
	}()
	return answers
}

func TestFreshReader_aReadServesNobodyWhoAskedAfterItBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowReader()
		fresh := newFreshReader(slow)
		early := ask(t.Context(), fresh, "g")
		<-slow.begun // the first read has seen the Grant

		slow.delete("g")
		late := ask(t.Context(), fresh, "g")
		synctest.Wait() // the late caller waits for a read
		slow.answer <- nil
		if got := <-early; got.err != nil || got.grant.Spec.ACL != "before" {
			t.Errorf("the early caller got %+v, %v; want the Grant", got.grant, got.err)
		}
		<-slow.begun
		slow.answer <- nil
		if got := <-late; !errors.Is(got.err, errGone) {
			t.Errorf("the late caller got %+v, %v; want that it is gone", got.grant, got.err)
		}
		if slow.count() != 2 {
			t.Errorf("%d reads, want 2", slow.count())
		}
	})
}

func TestFreshReader_aReadServesAllWhoAskedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowReader()
		fresh := newFreshReader(slow)
		first := ask(t.Context(), fresh, "g")
		<-slow.begun
		var waiting []<-chan answer
		for range 100 {
			waiting = append(waiting, ask(t.Context(), fresh, "g"))
		}
		synctest.Wait()
		slow.answer <- nil
		<-first
		<-slow.begun
		slow.answer <- nil
		for _, w := range waiting {
			if got := <-w; got.err != nil || got.grant.Spec.ACL != "before" {
				t.Errorf("got %+v, %v; want the Grant", got.grant, got.err)
			}
		}
		if slow.count() != 2 {
			t.Errorf("%d reads for 101 callers, want 2", slow.count())
		}
		synctest.Wait() // the worker has ended
		fresh.mu.Lock()
		defer fresh.mu.Unlock()
		if left := len(fresh.lines); left != 0 {
			t.Errorf("%d lines are kept for nobody", left)
		}
	})
}

func TestFreshReader_whoGivesUpFailsNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowReader()
		fresh := newFreshReader(slow)
		impatient, giveUp := context.WithCancel(t.Context())
		running := ask(impatient, fresh, "g") // it has brought about the read
		<-slow.begun
		queued := ask(impatient, fresh, "g")
		patient := ask(t.Context(), fresh, "g")
		synctest.Wait()

		giveUp()
		for _, w := range []<-chan answer{running, queued} {
			if got := <-w; !errors.Is(got.err, context.Canceled) {
				t.Errorf("who gave up got %v", got.err)
			}
		}
		slow.answer <- nil
		<-slow.begun
		slow.answer <- nil
		if got := <-patient; got.err != nil {
			t.Errorf("who waited got %v", got.err)
		}
	})
}

func TestFreshReader_anErrorIsForAllWhoWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowReader()
		fresh := newFreshReader(slow)
		refused := errors.New("etcd is away")
		first := ask(t.Context(), fresh, "g")
		<-slow.begun
		second, third := ask(t.Context(), fresh, "g"), ask(t.Context(), fresh, "g")
		synctest.Wait()
		slow.answer <- nil
		<-first
		<-slow.begun
		slow.answer <- refused
		for _, w := range []<-chan answer{second, third} {
			if got := <-w; !errors.Is(got.err, refused) || got.grant != nil {
				t.Errorf("got %v, %v; want %v and no object", got.grant, got.err, refused)
			}
		}
		after := ask(t.Context(), fresh, "g")
		<-slow.begun
		slow.answer <- nil
		if got := <-after; got.err != nil {
			t.Errorf("the error is kept: %v", got.err)
		}
	})
}

func TestFreshReader_aReadThatHangsEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowReader()
		caller := ask(t.Context(), newFreshReader(slow), "g")
		<-slow.begun
		if got := <-caller; !errors.Is(got.err, context.DeadlineExceeded) { // the clock of the bubble moves on
			t.Errorf("got %v, want a deadline", got.err)
		}
	})
}

func TestFreshReader_kindsAndNamesDoNotShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newSlowReader()
		slow.store["other"] = "else"
		fresh := newFreshReader(slow)
		grant, other := ask(t.Context(), fresh, "g"), ask(t.Context(), fresh, "other")
		acls := make(chan error, 1)
		go func() {
			_, err := freshGet(t.Context(), fresh, types.NamespacedName{Name: "g"}, &v1alpha1.ACL{})
			acls <- err
		}()
		for range 3 {
			<-slow.begun
		}
		for range 3 {
			slow.answer <- nil
		}
		if got := <-grant; got.err != nil || got.grant.Spec.ACL != "before" {
			t.Errorf("g: %+v, %v", got.grant, got.err)
		}
		if got := <-other; got.err != nil || got.grant.Spec.ACL != "else" {
			t.Errorf("other: %+v, %v", got.grant, got.err)
		}
		if err := <-acls; err != nil {
			t.Errorf("ACL: %v", err)
		}
	})
}

// TestFreshReader_underLoad lets many callers read while the object is deleted: after the deletion has
// returned, nobody who asks may see it. Run it with -race.
func TestFreshReader_underLoad(t *testing.T) {
	t.Parallel()
	slow := newSlowReader()
	ctx := t.Context()
	go func() { // an API server that answers at once
		for {
			select {
			case <-ctx.Done():
				return
			case <-slow.begun:
			case slow.answer <- nil:
			}
		}
	}()
	fresh := newFreshReader(slow)
	deleted := make(chan struct{})
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for after := 0; after < 20; {
				gone := false
				select {
				case <-deleted:
					gone = true
					after++
				default:
				}
				_, err := freshGet(ctx, fresh, types.NamespacedName{Name: "g"}, &v1alpha1.Grant{})
				if gone && !errors.Is(err, errGone) {
					t.Errorf("asked after the deletion, got %v", err)
					return
				}
			}
		})
	}
	for slow.count() < 50 {
		if _, err := freshGet(ctx, fresh, types.NamespacedName{Name: "g"}, &v1alpha1.Grant{}); err != nil {
			t.Fatalf("before the deletion: %v", err)
		}
	}
	slow.delete("g")
	close(deleted)
	callers.Wait()
}
