package decision

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/grantry/grantry/bench/internal/engine"
	"github.com/grantry/grantry/bench/internal/report"
	"github.com/grantry/grantry/internal/testing/world"
)

const (
	// wanted is how many times faster Grantry must be than each other engine, with barAt grants in one namespace.
	wanted = 100
	barAt  = 10_000
	// tenants is the number of namespaces of the second comparison.
	tenants = 100
)

// Compare measures all engines at all sizes in one namespace, and at barAt also in many.
func Compare(ctx context.Context, sizes []int, log io.Writer) (report.Section, error) {
	s := report.Section{Name: "decision"}
	t := newTable()
	var verified string
	for _, size := range sizes {
		figures, err := Measure(ctx, Options{Shape: world.Shape{Grants: size}, Log: log})
		if err != nil {
			return s, err
		}
		t.add(report.Count(size)+" grants", figures, Figure.cell)
		verified += fmt.Sprintf(" At %s grants: %s.", report.Count(size), compared(figures))
		if size == barAt {
			t.add("times Grantry's", figures, Figure.ratio)
			s.Bars = bars(figures)
		}
	}
	if slices.Contains(sizes, barAt) {
		figures, err := Measure(ctx, Options{Shape: world.Shape{Grants: barAt, Namespaces: tenants}, Log: log})
		if err != nil {
			return s, err
		}
		t.add(fmt.Sprintf("%s grants in %d namespaces", report.Count(barAt), tenants), figures, Figure.cell)
		t.add("times Grantry's", figures, Figure.ratio)
	}
	s.Body = fmt.Sprintf("Processor time of one decision, the collection of garbage included: the median of %d rounds (the quickest–the slowest), in which the engine and Grantry take turns. Answers compared before, all of them right.%s\n\n%s\n%s",
		rounds, verified, report.Table(t), modelled())
	return s, nil
}

// table has a row for each engine.
type table [][]string

func newTable() table {
	t := table{{"engine"}}
	for _, kind := range engine.Kinds {
		t = append(t, []string{kind.Name})
	}
	return t
}

func (t table) add(head string, figures []Figure, cell func(Figure) string) {
	t[0] = append(t[0], head)
	for i, f := range figures {
		t[i+1] = append(t[i+1], cell(f))
	}
}

func (f Figure) cell() string {
	if f.Skipped != "" {
		return "— " + f.Skipped
	}
	return fmt.Sprintf("%s (%s–%s)", report.Duration(f.Median), report.Duration(f.Low), report.Duration(f.High))
}

func (f Figure) ratio() string {
	if f.Ratio == 0 {
		return "—"
	}
	return report.Number(f.Ratio)
}

// bars hold each engine that is not ours, used as its documentation shows, to what is wanted.
func bars(figures []Figure) []report.Bar {
	var all []report.Bar
	for i, f := range figures {
		if engine.Kinds[i].Ours || engine.Kinds[i].Tuned || f.Skipped != "" {
			continue
		}
		all = append(all, report.Bar{
			What: fmt.Sprintf("decision at %s grants: time of %s", report.Count(barAt), f.Engine), Measured: report.Number(f.Ratio) + "× Grantry's",
			Wanted: fmt.Sprintf("≥ %d×", wanted), Met: f.Ratio >= wanted,
		})
	}
	return all
}

// compared says of how many questions the answers were compared, where it is not all.
func compared(figures []Figure) string {
	text := fmt.Sprintf("%s of each engine", report.Count(questions))
	var fewer []string
	for _, f := range figures {
		if f.Skipped == "" && f.Verified < questions {
			fewer = append(fewer, fmt.Sprintf("%s of %s", report.Count(f.Verified), f.Engine))
		}
	}
	slices.Sort(fewer)
	for _, f := range fewer {
		text += ", but " + f
	}
	return text
}

// modelled says how each engine was told the grants.
func modelled() string {
	rows := [][]string{{"engine", "how it holds the grants"}}
	for _, kind := range engine.Kinds {
		rows = append(rows, []string{kind.Name, kind.Modelled})
	}
	return report.Table(rows)
}
