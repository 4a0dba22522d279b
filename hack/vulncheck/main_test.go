package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	calls   = "package main\n\nimport \"errors\"\n\nfunc main() { panic(errors.Join()) }\n"
	imports = "package main\n\nimport \"errors\"\n\nfunc main() { panic(errors.ErrUnsupported) }\n"
	broken  = "package main\n\nfunc main() { absent() }\n"
)

// invented is a database of one vulnerability, in errors.Join of every Go.
var invented = map[string]string{
	"index/db.json":      `{"modified":"2026-01-01T00:00:00Z"}`,
	"index/modules.json": `[{"path":"stdlib","vulns":[{"id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z"}]}]`,
	"ID/GO-2026-0001.json": `{"schema_version":"1.3.1","id":"GO-2026-0001","modified":"2026-01-01T00:00:00Z","published":"2026-01-01T00:00:00Z",
		"details":"invented","affected":[{"package":{"name":"stdlib","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
		"ecosystem_specific":{"imports":[{"path":"errors","symbols":["Join"]}]}}],
		"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2026-0001"}}`,
}

func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serve serves files of a directory as the published database does: compressed.
func serve(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(filepath.Join(dir, strings.TrimSuffix(r.URL.Path, ".gz")))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		compressed := gzip.NewWriter(w)
		_, _ = compressed.Write(text)
		_ = compressed.Close()
	})
}

// at is the URL of a server that answers so until the test ends.
func at(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSearch(t *testing.T) {
	copied := write(t, invented)
	online, closed := at(t, serve(copied)), httptest.NewServer(nil)
	closed.Close()
	silent := at(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	page := at(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>Please log in.") }))
	const unchecked = "WARNING: not checked for known vulnerabilities: "
	for name, tc := range map[string]struct {
		source, database string
		must             bool
		patience         time.Duration
		says, fails      string // what is printed, and the error; "" is none
	}{
		"nothing vulnerable is called":            {source: imports, database: "file://" + copied, says: "No vulnerabilities found"},
		"something vulnerable is called":          {source: calls, database: "file://" + copied, says: "errors.Join", fails: "exit status 3"},
		"of a database on the net":                {source: calls, database: online, must: true, says: "errors.Join", fails: "exit status 3"},
		"it doesn't build":                        {source: broken, database: "file://" + copied, says: "undefined: absent", fails: "exit status 1"},
		"no copy is there":                        {source: imports, database: "file://" + copied + "/none", fails: "exit status 1"},
		"no database is reached":                  {source: calls, database: closed.URL, says: unchecked},
		"no database is reached, and one must be": {source: calls, database: closed.URL, must: true, fails: "not checked for known vulnerabilities: "},
		"a database is silent":                    {source: calls, database: silent, patience: time.Millisecond, says: unchecked},
		"something else answers":                  {source: calls, database: page, says: unchecked},
		"there is no database":                    {source: calls, database: online + "/none", says: unchecked},
	} {
		t.Run(name, func(t *testing.T) {
			var printed bytes.Buffer
			s := search{
				root: "../..", module: write(t, map[string]string{"go.mod": "module example.com/m\n\ngo 1.26\n", "main.go": tc.source}),
				database: tc.database, must: tc.must, patience: time.Minute, out: &printed, err: &printed,
			}
			if tc.patience > 0 {
				s.patience = tc.patience
			}
			err := s.run(t.Context())
			if (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("error %v, want %q", err, tc.fails)
			}
			if !strings.Contains(printed.String(), tc.says) {
				t.Errorf("printed %q, want %q in it", printed.String(), tc.says)
			}
		})
	}
}
