//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// What TestSize holds the operator to, at 100,000 Grants.
const (
	mostStart  = 15 * time.Second
	mostMemory = 1 << 30 // bytes
)

// TestSize measures an operator on a cluster with as many Grants as GRANTS says, a fifth as many ACLs and a tenth as many
// Jobs: how long it takes from the start of its process until it is ready, and how much memory it takes. At its first
// start no object has a status yet, and there is no admission, by which all of them count. At the second one, with both
// webhooks, there is nothing to do, and the API server has begun anew.
func TestSize(t *testing.T) {
	grants := number(t, "GRANTS", 1000, "bench-size")
	acls, jobs := grants/5, grants/10
	cluster, c, binary := startWithin(t, harness.CrowdedLimit, "--kwok-nodes=10", "--restart")
	const ns = "size"
	create(t, c, namespace(ns))
	createAll(t, c, acls, func(i int) client.Object {
		return jobACL(fmt.Sprintf("acl-%d", i), ns, fmt.Sprintf("team-%d.area-%d", i%100, i))
	})
	createAll(t, c, grants, func(i int) client.Object {
		return grant(fmt.Sprintf("grant-%d", i), fmt.Sprintf("acl-%d", i%acls), fmt.Sprintf("user-%d@example.com", i%(grants/10)))
	})
	createAll(t, c, jobs, func(i int) client.Object {
		j := job(ns, fmt.Sprintf("team-%d.area-%d.job%d", i%100, i, i), fmt.Sprintf("user-%d@example.com", i), v1alpha1.StartOnDemand)
		j.Spec.Schedules = []v1alpha1.Schedule{{ID: "s", Cron: "0 0 1 1 * 2099"}}
		return j
	})
	args := append(cluster.Webhook.Args(), "--mode=permissive")

	first := begin(t, cluster, binary, args)
	began := time.Now()
	first.work(t)
	harness.Eventually(t, 5*time.Minute, func() string { return unready(t, c) }) // some are retried
	t.Logf("first start: all %d Grants, %d ACLs and %d Jobs have a status %s after the operator was ready", grants, acls, jobs, time.Since(began).Round(time.Second))
	first.stop(t, "first start")

	restartAPIServer(t, cluster, c)
	admission, err := cluster.Admission(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := begin(t, cluster, binary, append(args, admission...))
	serves(t, second.operator, map[string]int{"acl": acls, "grant": grants})
	second.work(t)
	second.stop(t, "second start")
	for name, o := range map[string]*started{"first": first, "second": second} {
		if o.took > mostStart {
			t.Errorf("ready %s after the %s start, want %s", o.took, name, mostStart)
		}
		if o.peak > mostMemory {
			t.Errorf("%d MiB at the most after the %s start, want %d", o.peak>>20, name, mostMemory>>20)
		}
	}
}

// serves wants so many objects of each kind to be in an operator's snapshot.
func serves(t *testing.T, o *harness.Operator, want map[string]int) {
	t.Helper()
	families, err := o.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families["grantry_policy_objects"].GetMetric() {
		kind := m.GetLabel()[0].GetValue()
		if n, asked := want[kind]; asked && int(m.GetGauge().GetValue()) != n {
			t.Errorf("the operator is ready, and serves %.0f of %d objects of kind %s", m.GetGauge().GetValue(), n, kind)
		}
		delete(want, kind)
	}
	if len(want) > 0 {
		t.Errorf("grantry_policy_objects says nothing of %v", want)
	}
}

// restartAPIServer ends the API server, and waits until there is one that holds all objects. The one that has just served
// hundreds of thousands of writes remembers so many that it does little but look for garbage.
func restartAPIServer(t *testing.T, cluster *harness.Cluster, c client.Client) {
	t.Helper()
	before := apiServerMemory(t, cluster)
	if err := cluster.KillComponent(t.Context(), "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	harness.Retry(t, 5*time.Minute, time.Second, "list from the API server that was started again", func() error {
		lists := []client.ObjectList{
			&v1alpha1.GrantList{}, &v1alpha1.ACLList{}, &v1alpha1.GroupList{}, &v1alpha1.JobList{}, &v1alpha1.JobRunList{}, &batchv1.JobList{},
		}
		for _, list := range lists { // with a selector it waits for its cache, where a limit would have it ask etcd
			if err := c.List(t.Context(), list, client.MatchingFields{"metadata.name": "nobody"}); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("kube-apiserver: %.0f MiB resident, and %.0f MiB after it was started again", before/(1<<20), apiServerMemory(t, cluster)/(1<<20))
}

// apiServerMemory is how many bytes of the API server are resident.
func apiServerMemory(t *testing.T, cluster *harness.Cluster) float64 {
	t.Helper()
	text, err := cluster.Kubectl(t.Context(), "admin", "get", "--raw", "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families["process_resident_memory_bytes"].GetMetric()[0].GetGauge().GetValue()
}

// started is an operator from its start to its end.
type started struct {
	operator *harness.Operator
	took     time.Duration // until it was ready
	peak     int           // bytes that were resident at the most; known after stop
}

func begin(t *testing.T, cluster *harness.Cluster, binary string, args []string) *started {
	t.Helper()
	began := time.Now()
	operator := cluster.RunOperator(t, binary, args...)
	return &started{operator: operator, took: time.Since(began)}
}

// work waits until next to nothing waits to be reconciled. Who decides by what is said at fifty objects a second, long after.
func (s *started) work(t *testing.T) {
	t.Helper()
	harness.Eventually(t, 30*time.Minute, func() string {
		time.Sleep(5 * time.Second) // an operator that is ready begins with its work
		families, err := s.operator.Metrics()
		if err != nil {
			return err.Error()
		}
		waiting := 0.0
		for _, m := range families["workqueue_depth"].GetMetric() {
			waiting += m.GetGauge().GetValue()
		}
		if waiting > 50 {
			return fmt.Sprintf("%.0f objects wait to be reconciled", waiting)
		}
		return ""
	})
}

// stop ends the operator and tells what it took.
func (s *started) stop(t *testing.T, name string) {
	t.Helper()
	resident := gauge(t, s.operator, "process_resident_memory_bytes")
	s.peak = peakMemory(t, s.operator.PID())
	s.operator.Stop()
	usage := s.operator.Usage()
	t.Logf("%s: ready after %s; %.0f MiB resident at the end, %d MiB at the most; %.1f s of CPU",
		name, s.took.Round(time.Millisecond), resident/(1<<20), s.peak>>20, time.Duration(usage.Utime.Nano()+usage.Stime.Nano()).Seconds())
}

// peakMemory is how many bytes of a process were resident at the most. What getrusage(2) says of a child is no less than
// its parent had before it.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "\nVmHWM:")
	var kibibytes int
	if _, err := fmt.Sscan(after, &kibibytes); err != nil {
		t.Fatalf("no VmHWM of process %d: %v", pid, err)
	}
	return kibibytes << 10
}

// unready says how many objects of each kind are not in order: a Grant in force, an ACL accepted, a Job with its next run.
func unready(t *testing.T, c client.Client) string {
	t.Helper()
	var missing []string
	for kind, isReady := range map[string]func(*unstructured.Unstructured) bool{
		"Grant": isInOrder, "ACL": isInOrder,
		"Job": func(j *unstructured.Unstructured) bool {
			next, _, _ := unstructured.NestedString(j.Object, "status", "nextRunAt")
			return next != ""
		},
	} {
		if n := lacking(t, c, kind, isReady); n > 0 {
			missing = append(missing, fmt.Sprintf("%d %ss", n, kind))
		}
	}
	return strings.Join(missing, ", ")
}

func isInOrder(object *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, ok := c.(map[string]any)
		return ok && condition["type"] == v1alpha1.ConditionReady && condition["status"] == "True"
	})
}

// lacking counts the objects of a kind that are not as they should be, a page at a time.
func lacking(t *testing.T, c client.Client, kind string, isReady func(*unstructured.Unstructured) bool) (n int) {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
	for {
		if err := c.List(t.Context(), list, client.Limit(500), client.Continue(list.GetContinue())); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if !isReady(&list.Items[i]) {
				n++
			}
		}
		if list.GetContinue() == "" {
			return n
		}
	}
}
