package drill

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/grantry/grantry/test/harness"
)

// row is what a fault came to.
type row struct {
	fault       fault
	fired, gone time.Duration
	others      []string
}

type report []row

// found says by what the cause was found.
func (r row) found() string {
	var all []string
	for _, s := range r.fault.signs {
		all = append(all, fmt.Sprintf("%s in `%s`", s.says, strings.ReplaceAll(s.command, "|", `\|`)))
	}
	return strings.Join(all, "; ")
}

// text is the report for a terminal.
func (r report) text() string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range r {
		_, _ = fmt.Fprintf(w, "%s\t%s\tfired after %s\tgone after %s\tbeside it: %s\n", row.fault.alert, row.fault.what, // into memory
			row.fired.Round(time.Second), row.gone.Round(time.Second), strings.Join(row.others, " "))
	}
	_ = w.Flush()
	return out.String()
}

// write puts the report into a Markdown file, in place of the one that is there.
func (r report) write(file string) error {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s.\n\n| alert | fault | fired after, s | found by | beside it |\n|---|---|---|---|---|\n", time.Now().UTC().Format("January 2006"))
	for _, row := range r {
		others := "`" + strings.Join(row.others, "` `") + "`"
		if len(row.others) == 0 {
			others = ""
		}
		fmt.Fprintf(&out, "| `%s` | %s | %.0f | %s | %s |\n", row.fault.alert, row.fault.what, row.fired.Seconds(), row.found(), others)
	}
	out.WriteString("\n")
	return harness.WriteReport(file, "drill-write", out.String())
}
