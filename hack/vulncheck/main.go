// Command vulncheck looks for known vulnerabilities in what the program calls, with the govulncheck that hack/tools/vuln
// pins. It fails on a finding, on what doesn't build, and on a copy of the database that isn't one. Where a database on the
// net doesn't answer it says so on standard error, and fails only if it was told to.
//
//	VULNDB=URL VULNCHECK=require go run ./hack/vulncheck
//
// VULNDB is https://vuln.go.dev unless it is set; file:///DIR names a copy.
package main

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// published is the database that Go's security team keeps.
	published = "https://vuln.go.dev"
	// patience bounds how long a database on the net may take to say when it was last changed.
	patience = 10 * time.Second
	// required is the value of VULNCHECK without which a database may be out of reach.
	required = "require"
)

// search is where to look, and for what.
type search struct {
	root     string // of the repository, which pins govulncheck
	module   string // the directory of what is looked at
	database string // a URL
	must     bool   // whether it is a failure that the database doesn't answer
	patience time.Duration
	out, err io.Writer
}

func main() {
	demand := os.Getenv("VULNCHECK")
	if demand != "" && demand != required {
		fmt.Fprintf(os.Stderr, "vulncheck: VULNCHECK is %q; want %q or nothing\n", demand, required)
		os.Exit(1)
	}
	s := search{
		root: ".", module: ".", database: cmp.Or(os.Getenv("VULNDB"), published), must: demand == required,
		patience: patience, out: os.Stdout, err: os.Stderr,
	}
	if err := s.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck:", err)
		os.Exit(1)
	}
}

func (s search) run(ctx context.Context) error {
	if strings.HasPrefix(s.database, "http") {
		if err := s.reach(ctx); err != nil && s.must {
			return fmt.Errorf("not checked for known vulnerabilities: %w", err)
		} else if err != nil {
			_, err = fmt.Fprintf(s.err, "WARNING: not checked for known vulnerabilities: %v; VULNDB=file:///DIR names a copy, VULNCHECK=%s fails without\n", err, required)
			return err
		}
	}
	modfile, err := filepath.Abs(filepath.Join(s.root, "hack/tools/vuln/go.mod"))
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "tool", "-modfile="+modfile, "govulncheck", "-C", s.module, "-db="+s.database, "./...")
	command.Dir, command.Stdout, command.Stderr = s.root, s.out, s.err
	if err := command.Run(); err != nil {
		return fmt.Errorf("govulncheck with %s: %w", s.database, err)
	}
	return nil
}

// reach asks a database on the net when it was last changed.
func (s search) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(s.database, "/")+"/index/db.json.gz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	content, err := gzip.NewReader(response.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", request.URL, err)
	}
	var about struct{ Modified time.Time }
	if err := json.NewDecoder(content).Decode(&about); err != nil {
		return fmt.Errorf("%s: %w", request.URL, err)
	}
	return nil
}
