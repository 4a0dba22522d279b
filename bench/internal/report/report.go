// Package report writes what was measured: a table of bars for the terminal, and the tables of docs/benchmarks.md.
package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// Bar is a figure and what it must be.
type Bar struct {
	What, Measured, Wanted string
	Met                    bool
}

// Section is what one measurement has to tell.
type Section struct {
	// Name is in the markers of the page around what is replaced.
	Name string
	// Body is Markdown, without a heading.
	Body string
	Bars []Bar
}

// Print shows all bars, and returns an error if one of them was missed.
func Print(w io.Writer, sections []Section) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nFIGURE\tMEASURED\tBAR\t")
	missed := 0
	for _, s := range sections {
		for _, b := range s.Bars {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", b.What, b.Measured, b.Wanted, b.verdict())
			if !b.Met {
				missed++
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d bars were missed", missed)
	}
	return nil
}

func (b Bar) verdict() string {
	if b.Met {
		return "met"
	}
	return "MISSED"
}

// Write replaces what a page says of the sections: all between two markers, the machine and the time first.
func Write(path string, machine Machine, sections []Section) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	page := string(content)
	for _, s := range sections {
		begin, end := "<!-- begin "+s.Name+" -->\n", "<!-- end "+s.Name+" -->\n"
		before, rest, ok := strings.Cut(page, begin)
		_, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			return errors.New("the page has no markers of " + s.Name)
		}
		page = before + begin + "\n" + machine.String() + "\n\n" + s.markdown() + "\n" + end + after
	}
	return os.WriteFile(path, []byte(page), 0o644) // a page to be read
}

func (s Section) markdown() string {
	rows := [][]string{{"bar", "measured", "wanted", ""}}
	for _, b := range s.Bars {
		rows = append(rows, []string{b.What, b.Measured, b.Wanted, b.verdict()})
	}
	return Table(rows) + "\n" + s.Body
}

// Table is a table in Markdown. The first row is its head.
func Table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}

// Duration shows a time with three digits.
func Duration(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= unit.of {
			return Number(float64(d)/float64(unit.of)) + " " + unit.name
		}
	}
	return fmt.Sprintf("%d ns", d.Nanoseconds())
}

// Number shows three digits, or all before the point.
func Number(f float64) string {
	switch {
	case f >= 100:
		return thousands(fmt.Sprintf("%.0f", f))
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// Count shows a whole number.
func Count(n int) string { return thousands(fmt.Sprint(n)) }

func thousands(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
