//go:build e2e

package pods

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/grantry/grantry/internal/testing/archive"
)

// files serves artifacts, and counts how often each was fetched.
type files struct {
	url     string
	content map[string][]byte

	mu      sync.Mutex
	fetched map[string]int
}

// serveFiles serves at an address that pods reach.
func serveFiles(t *testing.T, address string) *files {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	f := &files{fetched: map[string]int{}, content: map[string][]byte{
		"/tool":        []byte("#!/bin/sh\necho the tool works\n"),
		"/data.tar.gz": archive.Gzip(t, archive.Tar(t, "data/packed", "packed by tar\n")),
		"/pages.zip":   archive.Zip(t, "page", "packed by zip\n"),
		"/notes.gz":    archive.Gzip(t, []byte("packed by gzip\n")),
		"/raw.tar.gz":  []byte("not an archive"),
	}}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: f}}
	server.Start()
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// ServeHTTP serves a file.
func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.fetched[r.URL.Path]++
	f.mu.Unlock()
	content, found := f.content[r.URL.Path]
	if !found {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(content) // a client that goes away fails by itself
}

// times is how often a file was fetched.
func (f *files) times(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetched[path]
}
