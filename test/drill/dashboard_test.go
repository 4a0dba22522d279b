package drill

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// dashboard is the one of config/monitoring.
type dashboard struct {
	site *site
	// empty are the queries that have not given anything yet.
	empty []string
}

func (s *site) dashboard(t *testing.T) *dashboard {
	t.Helper()
	content, err := os.ReadFile("config/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(content, &read); err != nil {
		t.Fatal(err)
	}
	d := &dashboard{site: s}
	for _, panel := range read.Panels {
		for _, target := range panel.Targets {
			d.empty = append(d.empty, target.Expr)
		}
	}
	if len(d.empty) == 0 {
		t.Fatal("the dashboard has no queries")
	}
	return d
}

// look asks the queries that have not given anything yet.
func (d *dashboard) look(t *testing.T) {
	t.Helper()
	d.empty = slices.DeleteFunc(d.empty, func(query string) bool { return len(d.site.query(t.Context(), query)) > 0 })
}
