package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// freshReadTimeout bounds one read of the API server. It is far above what a healthy one needs and
// below what a waiting launch should be held up for.
const freshReadTimeout = 10 * time.Second

// freshReader reads objects from the API server, past every cache. A read serves everyone who asked
// before it began, and nobody who asked later: what has been deleted when a caller asks, the caller
// does not see. (golang.org/x/sync/singleflight lets late callers join a read that is under way, and so
// shows them what was deleted before they asked.) Thousands of launches by one Grant cost a few reads.
//
// The objects that it returns are shared: callers must not change them.
type freshReader struct {
	reader client.Reader

	mu    sync.Mutex
	lines map[freshKey]*freshLine
}

type freshKey struct {
	kind string
	name types.NamespacedName
}

// freshLine is the read of one object that is under way, and the one that follows it.
type freshLine struct{ running, next *freshRead }

type freshRead struct {
	into client.Object
	done chan struct{}
	err  error
}

func newFreshReader(r client.Reader) *freshReader {
	return &freshReader{reader: r, lines: map[freshKey]*freshLine{}}
}

// freshGet reads the object of that name into a value made by empty, or returns the API server's error.
func freshGet[T client.Object](ctx context.Context, r *freshReader, name types.NamespacedName, empty T) (T, error) {
	var none T
	read := r.join(ctx, freshKey{kind: fmt.Sprintf("%T", empty), name: name}, empty)
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case <-read.done:
	}
	if read.err != nil {
		return none, read.err
	}
	return read.into.(T), nil
}

// join returns a read that has not begun yet.
func (r *freshReader) join(ctx context.Context, key freshKey, empty client.Object) *freshRead {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := r.lines[key]
	if line == nil {
		line = &freshLine{running: &freshRead{into: empty, done: make(chan struct{})}}
		r.lines[key] = line
		go r.work(context.WithoutCancel(ctx), key, line)
		return line.running
	}
	if line.next == nil {
		line.next = &freshRead{into: empty, done: make(chan struct{})}
	}
	return line.next
}

// work reads for as long as somebody waits. It has a deadline of its own: a caller that gives up must
// not fail those who share the read.
func (r *freshReader) work(ctx context.Context, key freshKey, line *freshLine) {
	for read := line.running; read != nil; {
		timed, cancel := context.WithTimeout(ctx, freshReadTimeout)
		read.err = r.reader.Get(timed, key.name, read.into)
		cancel()
		close(read.done)

		r.mu.Lock()
		line.running, line.next = line.next, nil
		read = line.running
		if read == nil {
			delete(r.lines, key)
		}
		r.mu.Unlock()
	}
}
