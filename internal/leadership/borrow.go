package leadership

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Borrowed is a replica's cache in the hands of one term's manager: that neither starts nor ends it, and what its
// controllers hear by is taken off the informers with the term.
type Borrowed struct {
	cache.Cache

	mu         sync.Mutex
	removals   []func() error
	isReturned bool
}

// Borrow lends a cache that somebody else runs.
func Borrow(c cache.Cache) *Borrowed { return &Borrowed{Cache: c} }

// Start waits until ctx ends, and gives the cache back.
func (b *Borrowed) Start(ctx context.Context) error {
	<-ctx.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isReturned = true
	errs := make([]error, 0, len(b.removals))
	for _, remove := range b.removals {
		errs = append(errs, remove())
	}
	b.removals = nil
	return errors.Join(errs...)
}

// GetInformer is for cache.Cache.
func (b *Borrowed) GetInformer(ctx context.Context, object client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	informer, err := b.Cache.GetInformer(ctx, object, options...)
	return b.lend(informer, err)
}

// GetInformerForKind is for cache.Cache.
func (b *Borrowed) GetInformerForKind(ctx context.Context, kind schema.GroupVersionKind, options ...cache.InformerGetOption) (cache.Informer, error) {
	informer, err := b.Cache.GetInformerForKind(ctx, kind, options...)
	return b.lend(informer, err)
}

func (b *Borrowed) lend(informer cache.Informer, err error) (cache.Informer, error) {
	if err != nil {
		return nil, err
	}
	return &borrowedInformer{Informer: informer, from: b}, nil
}

// remember has a handler removed with the term, or at once if that is over.
func (b *Borrowed) remember(informer cache.Informer, handle toolscache.ResourceEventHandlerRegistration) error {
	remove := func() error { return informer.RemoveEventHandler(handle) }
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isReturned {
		return remove()
	}
	b.removals = append(b.removals, remove)
	return nil
}

// borrowedInformer remembers who hears of its events. There are three ways to.
type borrowedInformer struct {
	cache.Informer
	from *Borrowed
}

// AddEventHandler is for cache.Informer.
func (i *borrowedInformer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod is for cache.Informer.
func (i *borrowedInformer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, period time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{ResyncPeriod: &period})
}

// AddEventHandlerWithOptions is for cache.Informer.
func (i *borrowedInformer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	handle, err := i.Informer.AddEventHandlerWithOptions(handler, options)
	if err != nil {
		return nil, err
	}
	return handle, i.from.remember(i.Informer, handle)
}
