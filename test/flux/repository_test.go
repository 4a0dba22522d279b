//go:build e2e

package flux

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/test/harness"
)

// repository is a directory that is changed as a Git repository would be, and the artifacts that Flux' source-controller
// would make of it: the one part of Flux that the test plays.
type repository struct {
	dir      string
	server   *httptest.Server
	revision string

	mu        sync.Mutex
	artifacts map[string][]byte
}

// openRepository begins with the example.
func openRepository(t *testing.T) *repository {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	r := &repository{dir: t.TempDir(), artifacts: map[string][]byte{}}
	if err := os.CopyFS(r.dir, os.DirFS(filepath.Join(root, "docs", "gitops", "example"))); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

// ServeHTTP hands out artifacts.
func (r *repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	artifact, found := r.artifacts[request.URL.Path]
	if !found {
		http.NotFound(w, request)
		return
	}
	_, _ = w.Write(artifact)
}

func (r *repository) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *repository) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// change replaces a text that must be there once.
func (r *repository) change(t *testing.T, file, from, to string) {
	t.Helper()
	text := r.read(t, file)
	if strings.Count(text, from) != 1 {
		t.Fatalf("%s has %d times %q", file, strings.Count(text, from), from)
	}
	r.write(t, file, strings.Replace(text, from, to, 1))
}

// without removes the document of a file that has a text.
func (r *repository) without(t *testing.T, file, text string) {
	t.Helper()
	var kept []string
	documents := strings.Split(r.read(t, file), "---\n")
	for _, document := range documents {
		if !strings.Contains(document, text) {
			kept = append(kept, document)
		}
	}
	if len(kept) != len(documents)-1 {
		t.Fatalf("%d documents of %s have %q", len(documents)-len(kept), file, text)
	}
	r.write(t, file, strings.Join(kept, "---\n"))
}

// publish makes the directory the latest revision, as a push does.
func (s *site) publish(t *testing.T) {
	t.Helper()
	archive := s.repository.archive(t)
	digest := fmt.Sprintf("%x", sha256.Sum256(archive))
	s.repository.revision = "main@sha1:" + digest[:40]
	path := "/" + digest + ".tar.gz"
	s.repository.mu.Lock()
	s.repository.artifacts[path] = archive
	s.repository.mu.Unlock()
	source := s.object(t, "source.toolkit.fluxcd.io/v1", "GitRepository", "flux-system", "jobs")
	now := metav1.Now().UTC().Format(time.RFC3339)
	source.Object["status"] = map[string]any{
		"observedGeneration": source.GetGeneration(),
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact", "lastTransitionTime": now, "observedGeneration": source.GetGeneration(),
		}},
		"artifact": map[string]any{
			"revision": s.repository.revision, "digest": "sha256:" + digest, "path": path[1:], "url": s.repository.server.URL + path,
			"lastUpdateTime": now, "size": int64(len(archive)),
		},
	}
	if err := s.admin.Status().Update(t.Context(), source); err != nil {
		t.Fatal(err)
	}
}

// archive packs the directory.
func (r *repository) archive(t *testing.T) []byte {
	t.Helper()
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	files := tar.NewWriter(compressed)
	if err := files.AddFS(os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{files, compressed} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return packed.Bytes()
}

// kustomizations applies what the example has for a cluster, as whoever sets it up does.
func (s *site) kustomizations(t *testing.T) {
	t.Helper()
	s.kubectl(t, "apply", "--server-side", "-k", filepath.Join(s.repository.dir, "clusters", "production"))
}
