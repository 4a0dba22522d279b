package alerts

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"go.yaml.in/yaml/v3"
)

const (
	// scrape is the time between two samples of a series, and evaluation that between two looks at a rule.
	scrape, evaluation = 30 * time.Second, 30 * time.Second
	// played is how long series go on before alerts are looked at: more than the longest memory of a rule.
	played = 3 * time.Hour
)

// begin is when series begin.
var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var language = parser.NewParser(parser.Options{})

// shipped are the rules of config/monitoring, by the names of their alerts.
func shipped(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	content, err := os.ReadFile("../../config/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err = yaml.Unmarshal(content, &object); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.Marshal(&object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	groups, problems := rulefmt.Parse(spec, false, model.UTF8Validation, language, slog.Default())
	if err = errors.Join(problems...); err != nil {
		t.Fatal(err)
	}
	rules := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			rules[rule.Alert] = rule
		}
	}
	return rules
}

// past is what Prometheus would have stored.
type past []storage.Series

// record reads series as Prometheus' own tests write them: name{label="value"} 0+1x10.
func record(t *testing.T, series ...string) past {
	t.Helper()
	var all past
	for _, text := range series {
		of, values, err := language.ParseSeriesDesc(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var samples []chunks.Sample
		for i, value := range values {
			if !value.Omitted {
				samples = append(samples, sample{begin.Add(time.Duration(i) * scrape).UnixMilli(), value.Value})
			}
		}
		all = append(all, storage.NewListSeries(of, samples))
	}
	return all
}

// Querier is for storage.Queryable.
func (p past) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &set{}
		for _, series := range p {
			if matches(series.Labels(), matchers) {
				found.series = append(found.series, series)
			}
		}
		return found
	}}, nil
}

func matches(of labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(of.Get(m.Name)) {
			return false
		}
	}
	return true
}

// set goes through series.
type set struct {
	series []storage.Series
	next   int
}

func (s *set) Next() bool                        { s.next++; return s.next <= len(s.series) }
func (s *set) At() storage.Series                { return s.series[s.next-1] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// fires reports whether an alert fires at the end of what is played: its expression has held for as long as it wants.
func (p past) fires(t *testing.T, rule rulefmt.Rule) bool {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, EnableNegativeOffset: true, EnableAtModifier: true, Parser: language})
	defer func() { _ = engine.Close() }()
	end := begin.Add(played)
	for at := end.Add(-time.Duration(rule.For)); !at.After(end); at = at.Add(evaluation) {
		if !p.holds(t.Context(), t, engine, rule.Expr, at) {
			return false
		}
	}
	return true
}

func (p past) holds(ctx context.Context, t *testing.T, engine *promql.Engine, expression string, at time.Time) bool {
	t.Helper()
	query, err := engine.NewInstantQuery(ctx, p, nil, expression, at)
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		t.Fatalf("%s: %v", expression, result.Err)
	}
	vector, err := result.Vector()
	if err != nil {
		t.Fatal(err)
	}
	return len(vector) > 0
}
