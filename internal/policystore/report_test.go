package policystore

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/metrics"
)

// start is noon in Unix time.
const start = 1_772_452_800

// moving is an informer that has come to a version.
type moving struct{ version string }

func (m *moving) LastSyncResourceVersion() string { return m.version }

// told is what the metrics of a store say: by name and, if there is one, kind.
func told(t *testing.T, s *Store) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "grantry_policy_")
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = metric.GetGauge().GetValue()
		}
	}
	return got
}

func compare(t *testing.T, s *Store, want map[string]float64) {
	t.Helper()
	if diff := cmp.Diff(want, told(t, s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCollector_objects(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(noon)
	s := New(nil, clock)
	compare(t, s, map[string]float64{
		"grantry_view_age_limit_seconds": 0,
		"pending_changes":                0,
		"synced":                         0,
	})

	badACL := &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:dev..batch"}}
	half := makeGrant("half", "dev", "alice")
	half.Spec.Subjects = append(half.Spec.Subjects, v1alpha1.Subject{Kind: v1alpha1.UserSubject})
	lost := makeGrant("lost", "bad", "bob")
	team := &v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Spec: v1alpha1.GroupSpec{Members: []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "x"}}}}
	s.load(t.Context(), []pending{
		pendingACL("dev", "dev"),
		{objectKey{kindACL, "bad"}, badACL},
		{objectKey{kindGrant, "half"}, half},
		{objectKey{kindGrant, "lost"}, lost},
		{objectKey{kindGroup, "team"}, team},
	})
	s.queue.put(objectKey{kindGrant, "half"}, nil)
	compare(t, s, map[string]float64{
		"invalid_objects acl":            1,
		"invalid_objects grant":          1,
		"invalid_objects group":          1,
		"last_change_timestamp_seconds":  start,
		"missing_acls":                   1,
		"objects acl":                    1,
		"objects grant":                  2,
		"objects group":                  1,
		"grantry_view_age_limit_seconds": 0,
		"pending_changes":                1,
		"subjects":                       2,
		"synced":                         1,
	})

	clock.Step(time.Minute)
	badACL = badACL.DeepCopy()
	badACL.Spec.Resource = "dcos:superuser"
	s.queue.put(objectKey{kindACL, "bad"}, badACL)
	s.queue.put(objectKey{kindGroup, "team"}, nil)
	s.apply(t.Context(), s.queue.take())
	compare(t, s, map[string]float64{
		"invalid_objects acl":            0,
		"invalid_objects grant":          0,
		"invalid_objects group":          0,
		"last_change_timestamp_seconds":  start + 60,
		"missing_acls":                   0,
		"objects acl":                    2,
		"objects grant":                  1,
		"objects group":                  0,
		"grantry_view_age_limit_seconds": 0,
		"pending_changes":                0,
		"subjects":                       1,
		"synced":                         1,
	})
}

func TestCollector_watermarks(t *testing.T) {
	t.Parallel()
	s := New(nil, clocktesting.NewFakeClock(noon))
	acls, grants := &moving{""}, &moving{"7"}
	s.report.watch(kindACL, acls)
	s.report.watch(kindGrant, grants)
	s.report.watch(kindGroup, "an informer of a test that tells nothing")
	want := map[string]float64{"pending_changes": 0, "synced": 0, "grantry_view_age_limit_seconds": 0, "resource_version grant": 7}
	compare(t, s, want)
	acls.version, grants.version = "12", "13"
	want["resource_version acl"], want["resource_version grant"] = 12, 13
	compare(t, s, want)
}

// samples is how many times were measured.
func samples(t *testing.T, operation string) uint64 {
	t.Helper()
	var m dto.Metric
	if err := metrics.PolicyUpdateSeconds.WithLabelValues(operation).(prometheus.Metric).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount()
}

// TestStore_timesItsWork does not run at once with others, which count, too.
func TestStore_timesItsWork(t *testing.T) {
	builds, applications := samples(t, "build"), samples(t, "apply")
	s := loaded(t, pendingACL("dev", "dev"))
	s.apply(t.Context(), []pending{{objectKey{kindGrant, "g"}, makeGrant("g", "dev", "alice")}})
	s.apply(t.Context(), nil)
	if b, a := samples(t, "build")-builds, samples(t, "apply")-applications; b != 1 || a != 1 {
		t.Errorf("%d builds and %d applications were measured", b, a)
	}
}
