package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantry/grantry/bench/internal/load"
	"github.com/grantry/grantry/bench/internal/report"
	"github.com/grantry/grantry/internal/testing/certificates"
	"github.com/grantry/grantry/internal/testing/world"
)

const (
	// wanted is the least part of the bare server's throughput.
	wanted = 0.85
	// workers is how many questions are on their way at once.
	workers   = 16
	questions = 4_096
	// ticksPerSecond is how the kernel counts processor time (USER_HZ).
	ticksPerSecond = 100
)

// Options of a comparison.
type Options struct {
	Grants int
	// Rounds of each server, and how long each takes.
	Rounds int
	Round  time.Duration
	Log    io.Writer
}

// side is one of the two servers and what was seen of it.
type side struct {
	name       string
	process    *Process
	client     *load.Client
	latencies  []time.Duration
	throughput []float64 // of each round, per second
	processor  time.Duration
}

// Compare lets both servers answer the same questions in turns.
func Compare(ctx context.Context, o Options) (report.Section, error) {
	dir, err := os.MkdirTemp("", "bench-webhook-")
	if err != nil {
		return report.Section{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := certificates.Write(dir); err != nil {
		return report.Section{}, err
	}
	ours, err := newSide(ctx, "Grantry", Settings{Kind: Grantry, Address: "127.0.0.1:0", CertDir: dir, Grants: o.Grants})
	if err != nil {
		return report.Section{}, err
	}
	defer func() { _ = ours.process.Stop() }()
	theirs, err := newSide(ctx, "only decodes and answers", Settings{Kind: Bare, Address: "127.0.0.1:0", CertDir: dir})
	if err != nil {
		return report.Section{}, err
	}
	defer func() { _ = theirs.process.Stop() }()

	w := world.New(world.Shape{Grants: o.Grants, Questions: questions})
	bodies, err := ours.verify(ctx, w)
	if err != nil {
		return report.Section{}, err
	}
	for i := range o.Rounds + 1 { // the first is to warm up
		for _, s := range []*side{ours, theirs} {
			if i == 1 {
				s.latencies, s.throughput, s.processor = nil, nil, 0
			}
			if err := s.round(ctx, bodies, o.Round); err != nil {
				return report.Section{}, err
			}
		}
		_, _ = fmt.Fprintf(o.Log, "round %d of %d: %.0f/s, %.0f/s\n", i, o.Rounds, ours.throughput[len(ours.throughput)-1], theirs.throughput[len(theirs.throughput)-1])
	}
	return section(o, ours, theirs), nil
}

func newSide(ctx context.Context, name string, s Settings) (*side, error) {
	process, err := Start(ctx, s)
	if err != nil {
		return nil, err
	}
	client, err := load.NewClient(process.Address, s.CertDir)
	if err != nil {
		return nil, errors.Join(err, process.Stop())
	}
	return &side{name: name, process: process, client: client}, nil
}

// verify asks every question once, and returns their bodies.
func (s *side) verify(ctx context.Context, w *world.World) ([][]byte, error) {
	bodies := make([][]byte, len(w.Questions))
	for i, right := range w.Answers() {
		body, err := json.Marshal(load.Review(w.Questions[i]))
		if err != nil {
			return nil, err
		}
		answer, err := s.client.Ask(ctx, body)
		if err != nil {
			return nil, err
		}
		if answer.Status.Allowed != right {
			return nil, fmt.Errorf("question %d: %+v: answered %+v", i, w.Questions[i], answer.Status)
		}
		bodies[i] = body
	}
	return bodies, nil
}

func (s *side) round(ctx context.Context, bodies [][]byte, during time.Duration) error {
	before, err := processorTime(s.process.PID())
	if err != nil {
		return err
	}
	began := time.Now()
	took, err := s.client.Run(ctx, bodies, workers, during)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.throughput = append(s.throughput, float64(len(took))/time.Since(began).Seconds())
	s.latencies = append(s.latencies, took...)
	after, err := processorTime(s.process.PID())
	s.processor += after - before
	return err
}

// processorTime is what a process has used so far.
func processorTime(pid int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	const utime, stime = 11, 12
	if len(fields) <= stime {
		return 0, errors.New("/proc: no times")
	}
	user, err1 := strconv.Atoi(fields[utime])
	system, err2 := strconv.Atoi(fields[stime])
	return time.Duration(user+system) * time.Second / ticksPerSecond, errors.Join(err1, err2)
}

func section(o Options, ours, theirs *side) report.Section {
	ratios := make([]float64, len(ours.throughput))
	for i := range ratios {
		ratios[i] = ours.throughput[i] / theirs.throughput[i]
	}
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	rows := [][]string{{"server", "answers a second", "p50", "p99", "processor time of the server for each"}}
	for _, s := range []*side{ours, theirs} {
		slices.Sort(s.throughput)
		rows = append(rows, []string{
			s.name, report.Number(s.throughput[len(s.throughput)/2]), report.Duration(load.Quantile(s.latencies, 0.5)),
			report.Duration(load.Quantile(s.latencies, 0.99)), report.Duration(s.processor / time.Duration(max(1, len(s.latencies)))),
		})
	}
	return report.Section{
		Name: "webhook",
		Bars: []report.Bar{{
			What:     "webhook: throughput, of a server that only decodes and answers",
			Measured: fmt.Sprintf("%.2f× (%.2f–%.2f in %d rounds)", ratio, ratios[0], ratios[len(ratios)-1], len(ratios)),
			Wanted:   fmt.Sprintf("≥ %.2f×", wanted), Met: ratio >= wanted,
		}},
		Body: fmt.Sprintf("%s grants, %d questions at once over one HTTP/2 connection, %d rounds of %v for each server in turn; medians of the rounds.\n\n",
			report.Count(o.Grants), workers, o.Rounds, o.Round) + report.Table(rows),
	}
}
