package alerts

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// queries are those of the dashboard and of the runbook, by where they stand.
func queries(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("../../config/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err = json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			found["dashboard: "+panel.Title+": "+target.Expr] = target.Expr
		}
	}
	onBoard := len(found)
	page, err := os.ReadFile("../../docs/operations/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(strings.TrimSpace(block[1])) {
			found["runbook: "+strings.TrimSpace(line)] = strings.TrimSpace(line)
		}
	}
	if onBoard < 20 || len(found) == onBoard {
		t.Fatalf("only %d queries were found in the dashboard, and %d in the runbook", onBoard, len(found)-onBoard)
	}
	return found
}

// TestQueries: what the dashboard and the runbook ask is PromQL. A test of internal/metrics holds the metrics' names to
// those that there are.
func TestQueries(t *testing.T) {
	t.Parallel()
	for where, query := range queries(t) {
		if _, err := language.ParseExpr(query); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}
