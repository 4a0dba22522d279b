//go:build e2e

package chaos

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/grantry/grantry/test/harness"
)

// table is a round.
type table []result

// seconds are those of a time span, for a table. More than it should be are marked.
func seconds(d, most time.Duration) string {
	text := fmt.Sprintf("%.1f", d.Seconds())
	if most > 0 && d > most {
		text += " !"
	}
	return text
}

// cells are a row's.
func (r result) cells() []string {
	return []string{
		r.name, seconds(r.mended.Sub(r.began), 0), seconds(r.converged.Sub(r.mended), converges), seconds(r.over.Sub(r.returned), 0),
		fmt.Sprint(r.runs), fmt.Sprint(r.children), fmt.Sprint(r.requests), fmt.Sprint(r.kept), fmt.Sprint(r.violations),
	}
}

// headings are the columns'. Kept from it counts requests of those who may.
var headings = []string{"fault", "for, s", "converged after, s", "granted again, s", "runs", "children", "requests", "kept from it", "violations"}

// text is the table for a terminal.
func (t table) text() string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(headings, "\t")) // into memory
	for _, r := range t {
		_, _ = fmt.Fprintln(w, strings.Join(r.cells(), "\t"))
	}
	_ = w.Flush()
	return out.String()
}

// writeReport puts the rounds into a Markdown file, in place of those that are there.
func writeReport(file string, rounds []table) error {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s.\n", time.Now().UTC().Format("January 2006"))
	for i, round := range rounds {
		fmt.Fprintf(&out, "\nRound %d:\n\n| %s |\n|%s\n", i+1, strings.Join(headings, " | "), strings.Repeat("---|", len(headings)))
		for _, r := range round {
			fmt.Fprintf(&out, "| %s |\n", strings.Join(r.cells(), " | "))
		}
	}
	out.WriteString("\n| fault | what tells of it |\n|---|---|\n")
	for _, f := range faults() {
		fmt.Fprintf(&out, "| %s | %s |\n", f.name, f.tells)
	}
	out.WriteString("\n")
	return harness.WriteReport(file, "chaos-write", out.String())
}
