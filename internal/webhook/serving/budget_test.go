package serving

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	b := &Budget{Most: 100, Free: 10}
	read := func(n int) (*Reader, error) {
		r := b.Reader(strings.NewReader(strings.Repeat("x", n)))
		_, err := io.Copy(io.Discard, r)
		return r, err
	}
	small, err := read(10)
	if err != nil || b.held.Load() != 0 {
		t.Errorf("what is free: %v, %d held", err, b.held.Load())
	}
	large, err := read(110)
	if err != nil || b.held.Load() != 100 {
		t.Errorf("all of it: %v, %d held", err, b.held.Load())
	}
	over, err := read(11)
	if !errors.Is(err, ErrBusy) || b.held.Load() != 100 {
		t.Errorf("more: %v, %d held", err, b.held.Load())
	}
	for _, r := range []*Reader{small, large, over, large} { // once more: nothing is given back twice
		r.Release()
	}
	if b.held.Load() != 0 {
		t.Errorf("%d held in the end", b.held.Load())
	}
}

// TestBudget_small: what is small is read while what is large holds all that it may, and the other way round.
func TestBudget_small(t *testing.T) {
	t.Parallel()
	small, large := &Budget{Most: 20, Upto: 10}, &Budget{Most: 100, Free: 10}
	read := func(n int) (*Reader, *Reader, error) {
		outer := small.Reader(strings.NewReader(strings.Repeat("x", n)))
		inner := large.Reader(outer)
		_, err := io.Copy(io.Discard, inner)
		return outer, inner, err
	}
	first, firstLarge, err := read(110)
	if err != nil || small.held.Load() != 10 || large.held.Load() != 100 {
		t.Errorf("a large one: %v, %d and %d held", err, small.held.Load(), large.held.Load())
	}
	second, _, err := read(10)
	if err != nil || small.held.Load() != 20 || large.held.Load() != 100 {
		t.Errorf("a small one beside it: %v, %d and %d held", err, small.held.Load(), large.held.Load())
	}
	if _, _, err := read(1); !errors.Is(err, ErrBusy) {
		t.Errorf("a small one too many: %v", err)
	}
	second.Release()
	third, _, err := read(11)
	if !errors.Is(err, ErrBusy) {
		t.Errorf("a second large one: %v", err)
	}
	for _, r := range []*Reader{first, firstLarge, third} {
		r.Release()
	}
	if small.held.Load() != 0 || large.held.Load() != 0 {
		t.Errorf("%d and %d held in the end", small.held.Load(), large.held.Load())
	}
}

func TestBudget_handler(t *testing.T) {
	t.Parallel()
	b := &Budget{Most: 100}
	var inner func()
	handler := b.Handler(40, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if inner != nil {
			next := inner
			inner = nil
			next()
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	}))
	send := func(body string) int {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body)))
		return recorder.Code
	}
	for body, want := range map[string]int{"": http.StatusOK, strings.Repeat("x", 60): http.StatusOK, strings.Repeat("x", 61): http.StatusTeapot} {
		if got := send(body); got != want {
			t.Errorf("%d bytes: status %d", len(body), got)
		}
	}
	var within, third int
	inner = func() {
		inner = func() { third = send("") }
		within = send("")
	}
	if got := send(""); got != http.StatusOK || within != http.StatusOK || third != http.StatusServiceUnavailable {
		t.Errorf("three at once: %d, %d, %d", got, within, third)
	}
	if b.held.Load() != 0 {
		t.Errorf("%d held in the end", b.held.Load())
	}
}
