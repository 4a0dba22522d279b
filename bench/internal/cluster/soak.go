package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/grantry/grantry/bench/internal/load"
	"github.com/grantry/grantry/bench/internal/report"
	"github.com/grantry/grantry/internal/testing/world"
)

const (
	// growthAllowed is how much more may be in use at the end than at the beginning: two samples differ by as much.
	growthAllowed = 1.05
	soakWorkers   = 4 // through the API server, and as many directly
	sampleEvery   = time.Second
)

// sample is the operator's memory at a time, in bytes.
type sample struct{ resident, live, goroutines float64 }

// soak asks for a while, each time as another user: half through the API server, half directly.
func (s *site) soak(ctx context.Context) (report.Section, error) {
	section := report.Section{Name: "soak"}
	s.say("asking for %v", s.Soak)
	counts, samples, err := s.askForLong(ctx)
	if err != nil {
		return section, err
	}
	part := max(1, len(samples)/6)
	if len(samples) > part {
		samples = samples[part:] // until then the heap grows to twice what is live, as the collector lets it
	}
	first, last := leastOf(samples[:part]), leastOf(samples[len(samples)-part:])
	mib := func(bytes float64) string { return report.Number(bytes/(1<<20)) + " MiB" }
	rows := [][]string{
		{"", "second sixth", "last sixth"},
		{"live heap, by the last collection", mib(first.live), mib(last.live)},
		{"resident", mib(first.resident), mib(last.resident)},
		{"goroutines", report.Number(first.goroutines), report.Number(last.goroutines)},
	}
	section.Body = fmt.Sprintf("%s grants, %v, a user never asked about before in each question, so that no cache could answer: %s questions through the API server, %s directly. "+
		"The least of the samples taken each second.\n\n", report.Count(s.Grants), s.Soak, report.Count(int(counts.through.Load())), report.Count(int(counts.directly.Load()))) + report.Table(rows)
	for _, b := range []struct {
		what        string
		first, last float64
	}{{"live heap", first.live, last.live}, {"resident memory", first.resident, last.resident}} {
		section.Bars = append(section.Bars, report.Bar{
			What: fmt.Sprintf("%v, no question twice: %s at the end, of that at the beginning", s.Soak, b.what), Measured: fmt.Sprintf("%.2f×", b.last/b.first),
			Wanted: fmt.Sprintf("≤ %.2f×", growthAllowed), Met: b.last/b.first <= growthAllowed,
		})
	}
	section.Bars = append(section.Bars, report.Bar{
		What: "… errors and wrong answers", Measured: report.Count(int(counts.errors.Load())), Wanted: "0", Met: counts.errors.Load() == 0,
	})
	return section, nil
}

type counts struct{ through, directly, errors atomic.Int64 }

// askForLong returns what was asked and samples of the operator's memory while it was. Errors are counted; the first
// few are shown.
func (s *site) askForLong(ctx context.Context) (*counts, []sample, error) {
	admin, err := s.rest("admin")
	if err != nil {
		return nil, nil, err
	}
	c := &counts{}
	ctx, cancel := context.WithTimeout(ctx, s.Soak)
	defer cancel()
	var wg sync.WaitGroup
	ask := func(count *atomic.Int64, send func(ctx context.Context, q world.Question) error) {
		for range soakWorkers {
			wg.Go(func() {
				for ctx.Err() == nil {
					n := c.through.Load() + c.directly.Load()
					if err := send(context.WithoutCancel(ctx), s.question(n, count)); err != nil && c.errors.Add(1) <= 3 {
						s.say("%v", err)
					}
				}
			})
		}
	}
	ask(&c.directly, func(ctx context.Context, q world.Question) error {
		body, err := json.Marshal(load.Review(q))
		if err != nil {
			return err
		}
		answer, err := s.hook.Ask(ctx, body)
		if err != nil {
			return err
		}
		return s.check(q, answer.Status.Allowed)
	})
	ask(&c.through, func(ctx context.Context, q world.Question) error {
		review := load.Review(q)
		if err := admin.Post().AbsPath("/apis/authorization.k8s.io/v1/subjectaccessreviews").Body(review).Do(ctx).Into(review); err != nil {
			return err
		}
		return s.check(q, review.Status.Allowed)
	})
	samples, err := s.sampleUntil(ctx)
	wg.Wait()
	return c, samples, err
}

// question is one of a user of its own: every second one is the member of a group that may read the job.
func (s *site) question(n int64, count *atomic.Int64) world.Question {
	serial := count.Add(1)
	q := world.Question{
		User:   fmt.Sprintf("soak-%p-%d", count, serial),
		Groups: []string{byGrantry, fmt.Sprintf("soak-%d", serial), "team-00000", "team-00001", "team-00002"},
		Job:    world.Job{Namespace: namespace, Path: jobName(int(n))}, Action: "read",
	}
	if serial%2 == 0 {
		q.Groups = append(q.Groups, soakGroup)
	}
	return q
}

// soakGroup may read the jobs.
const soakGroup = "bench-soak"

func (s *site) check(q world.Question, allowed bool) error {
	if want := slices.Contains(q.Groups, soakGroup); allowed != want {
		return fmt.Errorf("%+v: answered %v", q, allowed)
	}
	return nil
}

func (s *site) sampleUntil(ctx context.Context) ([]sample, error) {
	var samples []sample
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if len(samples) == 0 {
				return nil, errors.New("no sample was taken")
			}
			return samples, nil
		case <-tick.C:
		}
		one, err := s.sample()
		if err != nil {
			return nil, err
		}
		samples = append(samples, one)
	}
}

func (s *site) sample() (sample, error) {
	families, err := s.operator.Metrics()
	if err != nil {
		return sample{}, err
	}
	resident, err := residentBytes(s.operator.PID())
	one := sample{resident: resident, live: sum(families["go_gc_heap_live_bytes"]), goroutines: sum(families["go_goroutines"])}
	if err == nil && (one.live == 0 || one.goroutines == 0) {
		err = errors.New("the operator does not tell its live heap")
	}
	return one, err
}

// leastOf takes the least of each figure: what is left when all else has been collected.
func leastOf(samples []sample) sample {
	least := samples[0]
	for _, s := range samples[1:] {
		least = sample{min(least.resident, s.resident), min(least.live, s.live), min(least.goroutines, s.goroutines)}
	}
	return least
}

// residentBytes is the memory of a process that is in use.
func residentBytes(pid int) (float64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib * 1024, err
		}
	}
	return 0, errors.New("/proc: no VmRSS")
}

// sum adds up a gauge over its labels.
func sum(family *dto.MetricFamily) (total float64) {
	for _, m := range family.GetMetric() {
		total += m.GetGauge().GetValue()
	}
	return total
}
