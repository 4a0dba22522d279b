package policystore

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grantry/grantry/internal/metrics"
)

var kindLabels = [...]string{kindACL: "acl", kindGrant: "grant", kindGroup: "group"}

// report is what metrics say of a store. Nothing that decides reads it.
type report struct {
	changed atomic.Int64 // when the snapshot was last replaced, in nanoseconds since 1970
	invalid [len(kindLabels)]atomic.Int64

	isInvalid map[objectKey]struct{} // the store's goroutine alone uses it

	mu        sync.Mutex
	informers [len(kindLabels)]any
}

// versioned is an informer that tells how far it has come, as those of client-go do.
type versioned interface{ LastSyncResourceVersion() string }

// watch takes note of the informer of a kind.
func (r *report) watch(k kind, informer any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.informers[k] = informer
}

// note counts objects of which a part can't be served.
func (r *report) note(key objectKey, invalid bool) {
	_, was := r.isInvalid[key]
	switch {
	case invalid && !was:
		if r.isInvalid == nil {
			r.isInvalid = map[objectKey]struct{}{}
		}
		r.isInvalid[key] = struct{}{}
		r.invalid[key.kind].Add(1)
	case was && !invalid:
		delete(r.isInvalid, key)
		r.invalid[key.kind].Add(-1)
	}
}

// Collector reads the metrics of a store when it is asked for them.
func (s *Store) Collector() prometheus.Collector { return collector{s} }

type collector struct{ store *Store }

// Describe is for prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		metrics.PolicySynced, metrics.PolicyObjects, metrics.PolicySubjects, metrics.PolicyInvalidObjects, metrics.PolicyMissingACLs,
		metrics.PolicyPendingChanges, metrics.PolicyChanged, metrics.PolicyResourceVersion, metrics.ViewAge, metrics.ViewAgeLimit,
	} {
		to <- d
	}
}

// Collect is for prometheus.Collector. Without a snapshot there is nothing to say of it but that.
func (c collector) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	s := c.store
	send(metrics.PolicyPendingChanges, float64(s.queue.len()))
	s.report.collect(send)
	for of, age := range s.View.Ages(s.clock.Now()) {
		send(metrics.ViewAge, age.Seconds(), of)
	}
	send(metrics.ViewAgeLimit, s.View.Limit().Seconds())
	synced := 0.0
	if s.Synced() {
		synced = 1
	}
	send(metrics.PolicySynced, synced)
	snapshot := s.snapshot.Load()
	if snapshot == nil {
		return
	}
	send(metrics.PolicyChanged, seconds(s.report.changed.Load()))
	counts := snapshot.Counts()
	for k, n := range map[kind]int{kindACL: counts.ACLs, kindGrant: counts.Grants, kindGroup: counts.Groups} {
		send(metrics.PolicyObjects, float64(n), kindLabels[k])
		send(metrics.PolicyInvalidObjects, float64(s.report.invalid[k].Load()), kindLabels[k])
	}
	send(metrics.PolicySubjects, float64(counts.Subjects))
	send(metrics.PolicyMissingACLs, float64(counts.MissingACLs))
}

// collect says how far the watches have come.
func (r *report) collect(send func(*prometheus.Desc, float64, ...string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, informer := range r.informers {
		of, ok := informer.(versioned)
		if !ok {
			continue
		}
		if number, err := strconv.ParseUint(of.LastSyncResourceVersion(), 10, 64); err == nil { // it has listed
			send(metrics.PolicyResourceVersion, float64(number), kindLabels[k])
		}
	}
}

func seconds(nanos int64) float64 { return time.Duration(nanos).Seconds() }
