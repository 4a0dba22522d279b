package batchjob_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestRestart_document holds the table of restarts and deadlines in docs/spec/job.md to the golden files: there is
// one file for each row, what a row says of run is in its in.yaml, and what it says of the batch/v1 Job is in its
// want.yaml or refused.txt.
func TestRestart_document(t *testing.T) {
	t.Parallel()
	var rows []string
	for _, row := range documentedRows(t, "restart") {
		name := strings.Trim(row[0], "`")
		rows = append(rows, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hasAll(t, row[1], filepath.Join("testdata", name, "in.yaml"), "spec.run")
			refused, err := os.ReadFile(filepath.Join("testdata", name, "refused.txt"))
			switch says, is := strings.CutPrefix(row[2], "refused: "); {
			case !is:
				hasAll(t, row[2], filepath.Join("testdata", name, "want.yaml"), "spec")
			case err != nil || !strings.Contains(string(refused), says):
				t.Errorf("the row says that it is refused for %q, and the refusal is %q (%v)", says, refused, err)
			}
		})
	}
	var golden []string
	for _, pattern := range []string{"restart-*", "task-kill-*", "*max-launch-delay*"} {
		dirs, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			golden = append(golden, filepath.Base(dir))
		}
	}
	slices.Sort(golden)
	slices.Sort(rows)
	if diff := cmp.Diff(slices.Compact(golden), rows); diff != "" {
		t.Errorf("the rows of docs/spec/job.md are not the golden files (-files +rows):\n%s", diff)
	}
}

// documentedRows are the cells of a table between two markers in docs/spec/job.md, without its head.
func documentedRows(t *testing.T, marker string) (rows [][]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "job.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut(string(content), "<!-- begin "+marker+" -->\n")
	table, _, ended := strings.Cut(rest, "<!-- end "+marker+" -->")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if !begun || !ended || len(lines) < 3 {
		t.Fatalf("docs/spec/job.md has no table %s", marker)
	}
	for _, line := range lines[2:] {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

var code = regexp.MustCompile("`([^`]+)`")

// hasAll expects what a cell says in code to be in a file, below a path: `a.b: c` is a field and its value, and
// `a.b` one that is not set, unless it is in capitals, which is a value. A path may leave out what is before it.
func hasAll(t *testing.T, cell, file, below string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	flatten("", object, fields)
	for _, match := range code.FindAllStringSubmatch(cell, -1) {
		path, want, wanted := strings.Cut(match[1], ": ")
		if path == strings.ToUpper(path) {
			continue
		}
		var got []string
		for field, value := range fields {
			if strings.HasPrefix(field, "."+below+".") && strings.HasSuffix(field, "."+path) {
				got = append(got, value)
			}
		}
		if wanted && !slices.Contains(got, want) || !wanted && len(got) > 0 {
			t.Errorf("%s is said to have %s, and has %v", file, match[1], got)
		}
	}
}

// flatten is every value by its path: .spec.rules[0].action.
func flatten(path string, value any, into map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			flatten(path+"."+key, field, into)
		}
	case []any:
		for i, item := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), item, into)
		}
	case float64: // as every number is here
		into[path] = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		into[path] = fmt.Sprint(v)
	}
}
