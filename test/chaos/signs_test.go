//go:build e2e

package chaos

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
)

// lookEach is how often a sign is looked for.
const lookEach = 200 * time.Millisecond

// nobodyLeads is what GrantryNoLeader looks at.
func nobodyLeads(_ *testing.T, s *site) bool { return s.leader() == nil }

// viewTooOld is what GrantryViewTooOld looks at, on any replica.
func viewTooOld(_ *testing.T, s *site) bool {
	return slices.ContainsFunc(s.replicas, func(r *replica) bool {
		limit := r.metric("grantry_view_age_limit_seconds")
		return limit > 0 && r.metric("grantry_view_age_seconds") > 0.75*limit
	})
}

// metric is the highest value of a replica's gauge, or 0.
func (r *replica) metric(name string) (highest float64) {
	operator := r.now()
	if operator == nil {
		return 0
	}
	families, err := operator.Metrics()
	if err != nil {
		return 0
	}
	for _, m := range families[name].GetMetric() {
		highest = max(highest, m.GetGauge().GetValue())
	}
	return highest
}

// webhookTimesOut reports whether the API server has counted requests that the authorization webhook did not answer.
func webhookTimesOut(t *testing.T, s *site) bool {
	t.Helper()
	config, err := s.Config("admin")
	if err != nil {
		t.Error(err)
		return false
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Error(err)
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	text, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(slices.Collect(bytes.Lines(text)), func(line []byte) bool {
		return strings.HasPrefix(string(line), "apiserver_authorization_webhook_evaluations_total{") && strings.Contains(string(line), `result="timeout"`)
	})
}

// watch looks for a fault's sign until it is told to stop, which says whether it was seen.
func (s *site) watch(t *testing.T, sign func(*testing.T, *site) bool) (stop func() bool) {
	t.Helper()
	if sign == nil {
		return func() bool { return true }
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan bool, 1)
	go func() {
		for ctx.Err() == nil {
			if sign(t, s) {
				seen <- true
				return
			}
			time.Sleep(lookEach)
		}
		seen <- false
	}()
	return func() bool {
		cancel()
		return <-seen
	}
}
