package joblookup

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/metrics"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var (
	errNone    = errors.New("none")
	errOfNoRun = errors.New("of no run")
	errDown    = errors.New("down")
)

func meta(name string, owner ...metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID("uid-" + name), OwnerReferences: owner}
}

func ref(apiVersion, kind, name, uid string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}
}

// there is what the API server holds.
func there() []client.Object {
	byChild, byRun := ref("batch/v1", "Job", "child", "uid-child"), ref("grantry.dev/v1alpha1", "JobRun", "run", "uid-run")
	forged := &corev1.Pod{ObjectMeta: meta("forged")}
	forged.Labels = map[string]string{v1alpha1.LabelRun: "uid-run", v1alpha1.AncestorLabelPrefix + "dev.job": ""}
	notController := byChild
	notController.Controller = nil
	return []client.Object{
		&v1alpha1.Job{ObjectMeta: meta("dev.job")},
		&v1alpha1.JobRun{ObjectMeta: meta("run"), Spec: v1alpha1.JobRunSpec{Job: "dev.job"}},
		&batchv1.Job{ObjectMeta: meta("child", byRun)}, &corev1.Pod{ObjectMeta: meta("pod", byChild)},
		&batchv1.Job{ObjectMeta: meta("alone")}, &corev1.Pod{ObjectMeta: meta("of-no-run", ref("batch/v1", "Job", "alone", "uid-alone"))},
		&batchv1.Job{ObjectMeta: meta("late", ref("grantry.dev/v1alpha1", "JobRun", "run", "uid-before"))},
		&corev1.Pod{ObjectMeta: meta("of-an-earlier-run", ref("batch/v1", "Job", "late", "uid-late"))},
		&corev1.Pod{ObjectMeta: meta("of-an-earlier-child", ref("batch/v1", "Job", "child", "uid-before"))},
		&corev1.Pod{ObjectMeta: meta("of-nothing", ref("batch/v1", "Job", "gone", "uid-gone"))},
		labelled(&corev1.Pod{ObjectMeta: meta("outlives-its-run", ref("batch/v1", "Job", "gone", "uid-gone"))}),
		labelled(&corev1.Pod{ObjectMeta: meta("labelled-of-no-run", ref("batch/v1", "Job", "alone", "uid-alone"))}),
		&batchv1.Job{ObjectMeta: meta("orphan", ref("grantry.dev/v1alpha1", "JobRun", "gone", "uid-gone"))},
		&corev1.Pod{ObjectMeta: meta("of-a-run-gone", ref("batch/v1", "Job", "orphan", "uid-orphan"))},
		&corev1.Pod{ObjectMeta: meta("of-a-set", ref("apps/v1", "ReplicaSet", "child", "uid-child"))},
		&corev1.Pod{ObjectMeta: meta("owned-only", notController)},
		forged,
	}
}

func labelled(pod *corev1.Pod) *corev1.Pod {
	pod.Labels = map[string]string{v1alpha1.LabelRun: "uid-run"}
	return pod
}

func reader(down bool, objects ...client.Object) (client.Client, *atomic.Int64) {
	reads := new(atomic.Int64)
	return interceptor.NewClient(fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithObjects(objects...).WithIndex(&corev1.Pod{}, podOfRun, podsOfRuns).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
			reads.Add(1)
			if down {
				return errDown
			}
			return c.Get(ctx, key, into, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, into client.ObjectList, opts ...client.ListOption) error {
			if down {
				return errDown
			}
			return c.List(ctx, into, opts...)
		},
	}), reads
}

func TestLookup_jobOfPod(t *testing.T) {
	t.Parallel()
	const none, noRun = "no pod", "no run"
	for name, want := range map[string]string{
		"pod": "dev.job", "of-no-run": noRun, "of-an-earlier-run": runGone, "of-an-earlier-child": noRun, "of-nothing": noRun, "of-a-set": noRun,
		"owned-only": noRun, "forged": noRun, "none": none, "outlives-its-run": runGone, "labelled-of-no-run": noRun, "of-a-run-gone": runGone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			full, _ := reader(false, there()...)
			empty, _ := reader(false)
			for where, l := range map[string]*Lookup{"cached": {Cached: full, Work: full, Live: full}, "just appeared": {Cached: empty, Work: empty, Live: full}} {
				l.NotFound, l.OfNoRun = errNone, errOfNoRun
				want, wantErr := want, error(nil)
				switch want {
				case none:
					want, wantErr = "", errNone
				case noRun:
					want, wantErr = "", errOfNoRun
				}
				if got, err := l.JobOfPod(t.Context(), "n", name); got != want || !errors.Is(err, wantErr) {
					t.Errorf("%s: %q, %v, want %q, %v", where, got, err, want, wantErr)
				}
			}
		})
	}
}

func TestLookup_readsLiveOnceOnAMiss(t *testing.T) {
	t.Parallel()
	cached, _ := reader(false, there()...)
	live, reads := reader(false, &v1alpha1.JobRun{ObjectMeta: meta("new"), Spec: v1alpha1.JobRunSpec{Job: "dev.new"}})
	l := &Lookup{Cached: cached, Work: cached, Live: live, NotFound: errNone}
	for _, tc := range []struct {
		run, want string
		reads     int64
	}{{"run", "dev.job", 0}, {"new", "dev.new", 1}, {"none", "", 1}} {
		reads.Store(0)
		got, err := l.JobOfRun(t.Context(), "n", tc.run)
		if got != tc.want || reads.Load() != tc.reads || (tc.want == "") != errors.Is(err, errNone) {
			t.Errorf("%s: %q, %v after %d live reads", tc.run, got, err, reads.Load())
		}
	}
}

func TestLookup_failuresAreNoAnswers(t *testing.T) {
	t.Parallel()
	empty, _ := reader(false)
	down, _ := reader(true)
	for where, l := range map[string]*Lookup{"cache": {Cached: down, Work: down, Live: empty}, "API server": {Cached: empty, Work: empty, Live: down}} {
		l.NotFound = errNone
		if got, err := l.JobOfRun(t.Context(), "n", "run"); got != "" || !errors.Is(err, errDown) {
			t.Errorf("%s: %q, %v", where, got, err)
		}
		if got, err := l.JobOfPod(t.Context(), "n", "pod"); got != "" || !errors.Is(err, errDown) {
			t.Errorf("%s: %q, %v", where, got, err)
		}
	}
}

// TestLookup_tellsOfLiveReads: each is counted, and is a span of the request that waits for it.
func TestLookup_tellsOfLiveReads(t *testing.T) {
	counted := func(object, result string) uint64 {
		var m dto.Metric
		if err := metrics.LiveReadSeconds.WithLabelValues(object, result).(prometheus.Metric).Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetHistogram().GetSampleCount()
	}
	full, _ := reader(false, there()...)
	empty, _ := reader(false)
	down, _ := reader(true)
	for name, tc := range map[string]struct {
		lookup *Lookup
		want   []string // object and result, in order
	}{
		"in the cache": {lookup: &Lookup{Cached: full, Work: full, Live: down}},
		"on a miss":    {lookup: &Lookup{Cached: empty, Work: empty, Live: full}, want: []string{"pod found", "job found", "jobrun found"}},
		"nowhere":      {lookup: &Lookup{Cached: empty, Work: empty, Live: empty}, want: []string{"pod not_found"}},
		"down":         {lookup: &Lookup{Cached: empty, Work: empty, Live: down}, want: []string{"pod error"}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.lookup.NotFound, tc.lookup.OfNoRun = errNone, errOfNoRun
			before := map[string]uint64{}
			for _, object := range []string{"pod", "job", "jobrun"} {
				for _, result := range []string{"found", "not_found", "error"} {
					before[object+" "+result] = counted(object, result)
				}
			}
			recorder := tracetest.NewSpanRecorder()
			ctx, request := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("").Start(t.Context(), "authorize")
			_, _ = tc.lookup.JobOfPod(ctx, "n", "pod")
			request.End()
			for what, n := range before {
				object, result, _ := strings.Cut(what, " ")
				if got := counted(object, result) - n; (got == 1) != slices.Contains(tc.want, what) || got > 1 {
					t.Errorf("%s was counted %d times", what, got)
				}
			}
			var spans []string
			for _, span := range recorder.Ended()[:len(recorder.Ended())-1] {
				if span.Parent().SpanID() != request.SpanContext().SpanID() {
					t.Errorf("%s is not the request's", span.Name())
				}
				spans = append(spans, strings.TrimPrefix(span.Name(), "read ")+" "+span.Attributes()[0].Value.AsString())
			}
			if !slices.Equal(spans, tc.want) {
				t.Errorf("spans %q, want %q", spans, tc.want)
			}
		})
	}
}

func TestLookup_holdsJobs(t *testing.T) {
	t.Parallel()
	full, _ := reader(false, there()...)
	down, _ := reader(true)
	empty, _ := reader(false, &corev1.Pod{ObjectMeta: meta("of-no-run")})
	left, _ := reader(false, labelled(&corev1.Pod{ObjectMeta: meta("outlives-its-job")}))
	for name, tc := range map[string]struct {
		jobs, work client.Client
		want       map[string]bool
	}{
		"a Job":              {full, empty, map[string]bool{"n": true, "other": false, "": true}},
		"a pod that is left": {empty, left, map[string]bool{"n": true, "other": false, "": true}},
		"neither":            {empty, empty, map[string]bool{"n": false, "": false}},
	} {
		for namespace, want := range tc.want {
			if got, err := (&Lookup{Cached: tc.jobs, Work: tc.work}).HoldsJobs(t.Context(), namespace); got != want || err != nil {
				t.Errorf("%s: %q: %v, %v", name, namespace, got, err)
			}
		}
	}
	for _, l := range []*Lookup{{Cached: down, Work: full}, {Cached: empty, Work: down}} {
		if got, err := l.HoldsJobs(t.Context(), "n"); got || !errors.Is(err, errDown) {
			t.Errorf("%v, %v", got, err)
		}
	}
}
