package serving

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// ErrBusy says that the requests under way hold as much as they may together.
var ErrBusy = errors.New("too much is being asked at once: try again")

// Budget bounds how many bytes of bodies the requests under way hold together. It takes no lock.
type Budget struct {
	// Most is how many bytes that is.
	Most int64
	// Free is how many of the first bytes of each body are not counted, and Upto after how many the others are not. Zero
	// counts all. Of two budgets, one with what is free in the other, the small don't wait for the large.
	Free, Upto int64

	held atomic.Int64
}

// Reader reads a body at the expense of the budget until Release is called.
func (b *Budget) Reader(body io.Reader) *Reader { return &Reader{budget: b, body: body} }

// counted is how many of the first n bytes of a body count.
func (b *Budget) counted(n int64) int64 {
	if b.Upto > 0 {
		n = min(n, b.Upto)
	}
	return max(0, n-b.Free)
}

// Reader is a body that is being read. What it has read counts as held: what is made of a body is a multiple of it.
type Reader struct {
	budget *Budget
	body   io.Reader
	read   int64
	held   int64
}

// Read is for io.Reader. It returns ErrBusy if the budget has no more.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	before := r.budget.counted(r.read)
	r.read += int64(n)
	if !r.take(r.budget.counted(r.read) - before) {
		return 0, ErrBusy
	}
	return n, err
}

func (r *Reader) take(n int64) bool {
	if n == 0 {
		return true
	}
	if r.budget.held.Add(n) > r.budget.Most {
		r.budget.held.Add(-n)
		return false
	}
	r.held += n
	return true
}

// Release gives back what was held. The body must not be in use any more.
func (r *Reader) Release() {
	r.budget.held.Add(-r.held)
	r.held = 0
}

// Handler serves requests at the expense of the budget, each with its body and so many bytes beside it. A request that is
// one too many gets the status 503; one of which the body is too much gets what next says of a body that can't be read.
func (b *Budget) Handler(each int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := b.Reader(r.Body)
		if !body.take(each) {
			http.Error(w, ErrBusy.Error(), http.StatusServiceUnavailable)
			return
		}
		defer body.Release()
		r.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
		next.ServeHTTP(w, r)
	})
}
