package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/grantry/grantry/bench/internal/load"
	"github.com/grantry/grantry/bench/internal/report"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/testing/world"
)

var codecs = serializer.NewCodecFactory(grantrytesting.Scheme).WithoutConversion()

const (
	// enforcedWithin is the bar of the 99th percentile.
	enforcedWithin = 100 * time.Millisecond
	// patience is when a trial has failed.
	patience = 30 * time.Second
)

// enforcement creates and deletes grants, and asks the operator's webhook without a pause until its answer is another.
func (s *site) enforcement(ctx context.Context) (report.Section, error) {
	section := report.Section{Name: "enforcement"}
	s.say("creating and deleting %d grants", s.Trials)
	var created, deleted, createdSent, deletedSent []time.Duration
	for i := range s.Trials {
		grant := grantOf(world.Grant{
			Name: fmt.Sprintf("trial-%05d", i), Subject: world.Subject{Name: fmt.Sprintf("trial-%05d", i)}, Action: "read",
		}, "bench")
		question, err := json.Marshal(load.Review(world.Question{
			User: grant.Name, Groups: []string{"team-00000"}, Job: world.Job{Namespace: namespace, Path: jobName(i)}, Action: "read",
		}))
		if err != nil {
			return section, err
		}
		for _, step := range []struct {
			do              func() error
			want            bool
			sent, completed *[]time.Duration
		}{
			{func() error { return s.admin.Create(ctx, grant) }, true, &createdSent, &created},
			{func() error { return s.admin.Delete(ctx, grant) }, false, &deletedSent, &deleted},
		} {
			began := time.Now()
			if err := step.do(); err != nil {
				return section, err
			}
			answered := time.Now()
			if err := s.await(ctx, question, step.want); err != nil {
				return section, fmt.Errorf("grant %s: %w", grant.Name, err)
			}
			*step.sent = append(*step.sent, time.Since(began))
			*step.completed = append(*step.completed, time.Since(answered))
		}
	}
	rows := [][]string{{"", "p50", "p99", "longest"}}
	for _, r := range []struct {
		name  string
		times []time.Duration
	}{
		{"grant created, from the API server's answer on", created}, {"… from sending it on", createdSent},
		{"grant deleted, from the API server's answer on", deleted}, {"… from sending it on", deletedSent},
	} {
		rows = append(rows, []string{
			r.name, report.Duration(load.Quantile(r.times, 0.5)), report.Duration(load.Quantile(r.times, 0.99)), report.Duration(load.Quantile(r.times, 1)),
		})
	}
	for _, b := range []struct {
		what  string
		times []time.Duration
	}{{"grant created", createdSent}, {"grant deleted", deletedSent}} {
		p99 := load.Quantile(b.times, 0.99)
		section.Bars = append(section.Bars, report.Bar{
			What: b.what + ": p99 from sending it until the webhook's answer is another", Measured: report.Duration(p99),
			Wanted: "< " + report.Duration(enforcedWithin), Met: p99 < enforcedWithin,
		})
	}
	section.Body = fmt.Sprintf("%s other grants, %d trials one after the other; the webhook is asked again as soon as it has answered.\n\n",
		report.Count(s.Grants), s.Trials) + report.Table(rows)
	return section, nil
}

// await asks until the answer is the one that is wanted.
func (s *site) await(ctx context.Context, question []byte, want bool) error {
	began := time.Now()
	for {
		answer, err := s.hook.Ask(ctx, question)
		if err != nil {
			return err
		}
		if answer.Status.Allowed == want {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("the answer was still %v after %v", !want, patience)
		}
	}
}
