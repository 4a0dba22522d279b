//go:build e2e

package pods

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
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
		"/data.tar.gz": compressed(t, tarred(t, "data/packed", "packed by tar\n")),
		"/pages.zip":   zipped(t, "page", "packed by zip\n"),
		"/notes.gz":    compressed(t, []byte("packed by gzip\n")),
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

func tarred(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range []*tar.Header{
		{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o700},
		{Name: name, Mode: 0o600, Uid: 4321, Gid: 4321, Size: int64(len(content))},
	} {
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
	}
	write(t, w, content)
	return out.Bytes()
}

func compressed(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	write(t, gzip.NewWriter(&out), string(content))
	return out.Bytes()
}

func zipped(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	file, err := w.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t *testing.T, w io.WriteCloser, content string) {
	t.Helper()
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
