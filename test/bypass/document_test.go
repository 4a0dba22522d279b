package bypass

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update writes the tables of the document anew: go test ./test/bypass -run TestDocument -update.
var update = flag.Bool("update", false, "write docs/bypass-matrix.md")

var document = filepath.Join("..", "..", "docs", "bypass-matrix.md")

// TestDocument holds the document to the table that is run.
func TestDocument(t *testing.T) {
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	want := between(t, string(content), "people", peopleTable())
	want = between(t, want, "attempts", attemptsTable())
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(content)); diff != "" {
		t.Errorf("docs/bypass-matrix.md is not what is run: go test ./test/bypass -run TestDocument -update (-want +got):\n%s", diff)
	}
	if n := len(everyAttempt()); n < 80 {
		t.Errorf("%d attempts, want 80 at the least", n)
	}
}

// TestDocument_exemptions: each identity that a configuration exempts by name is in the document.
func TestDocument_exemptions(t *testing.T) {
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	identity := regexp.MustCompile(`'(system:[a-z:-]+|[a-z-]+-(?:controller|collector|scheduler|manager))'?`)
	for _, pattern := range []string{"admission-policy/*.yaml", "authorization/*.yaml", "webhook/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(config, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			shipped, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range identity.FindAllStringSubmatch(string(shipped), -1) {
				if name := strings.TrimSuffix(match[1], ":"); !strings.Contains(string(content), name) {
					t.Errorf("%s exempts %s, and docs/bypass-matrix.md does not say why", file, name)
				}
			}
		}
	}
}

// between replaces what is between a pair of markers.
func between(t *testing.T, text, name, table string) string {
	t.Helper()
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, found := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("docs/bypass-matrix.md has no markers for %s", name)
	}
	return before + begin + table + end + after
}

func peopleTable() string {
	b := &strings.Builder{}
	b.WriteString("| who | holds |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(people)) {
		fmt.Fprintf(b, "| `%s` | %s |\n", name, people[name].holds)
	}
	return b.String()
}

func attemptsTable() string {
	b := &strings.Builder{}
	b.WriteString("| | way in | request | who | permissive | strict | Grantry down | no webhooks |\n|---|---|---|---|---|---|---|---|\n")
	for i, a := range everyAttempt() {
		fmt.Fprintf(b, "| %d | %s | %s | `%s` | %s | %s | %s | %s |\n", i+1, a.way, a.send.method, a.who,
			cell(a.permissive), cellUnless(a.strict, a.permissive), cellUnless(a.down, a.permissive), cellUnless(a.unregistered, a.permissive))
	}
	return b.String()
}

func cellUnless(r, same refusal) string {
	if r == same && r.by != "" {
		return "the same"
	}
	return cell(r)
}

func cell(r refusal) string {
	switch {
	case r.by == "":
		return "–"
	case r.says == "":
		return r.by
	}
	return fmt.Sprintf("%s: *%s*", r.by, strings.NewReplacer("<path>", "…", "|", "").Replace(r.says))
}
