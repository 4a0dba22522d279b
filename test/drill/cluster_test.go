package drill

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// question is something that somebody wants to read.
type question func() client.Object

func jobNamed(name string) question {
	return func() client.Object {
		return &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name}}
	}
}

func runThatIsNone() client.Object {
	return &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: fmt.Sprintf("none-%d", time.Now().UnixNano())}}
}

// ask has a user ask, many at once, each so often a second at most. The answers are of no interest.
func (s *site) ask(t *testing.T, user string, atOnce, rate int, about question) (stop func()) {
	t.Helper()
	var stops []func()
	for range atOnce {
		stops = append(stops, repeat(t, rate, func(ctx context.Context) {
			object := about()
			_ = s.users[user].Get(ctx, client.ObjectKeyFromObject(object), object)
		}))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// create has a user create a Job again and again, as a dry run.
func (s *site) create(t *testing.T, user, name string) (stop func()) {
	t.Helper()
	return repeat(t, 5, func(ctx context.Context) {
		job := &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name}, Spec: v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}}}
		_ = s.users[user].Create(ctx, job, client.DryRunAll) // its refusal is the fault
	})
}

// runs makes so many runs of alice's Job.
func (s *site) runs(t *testing.T, name string, n int) {
	t.Helper()
	const atOnce = 8
	var all sync.WaitGroup
	for first := range atOnce {
		all.Go(func() {
			for i := first; i < n; i += atOnce {
				run := &v1alpha1.JobRun{
					ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: fmt.Sprintf("%s-%d", name, i)},
					Spec:       v1alpha1.JobRunSpec{Job: "dev.nothing"},
				}
				if err := s.users["carol"].Create(t.Context(), run); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// launched wants so many batch/v1 Jobs.
func (s *site) launched(t *testing.T, n int) error {
	t.Helper()
	if got := strings.Count(s.kubectl(t, "get", "jobs.batch", "-n", instance, "-o", "name"), "\n"); got != n {
		return fmt.Errorf("%d of %d are", got, n)
	}
	return nil
}

// slowWebhook has the API server ask somebody about batch/v1 Jobs who takes connections and says nothing.
func (s *site) slowWebhook(t *testing.T) {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the API server is on this machine
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	s.foreignWebhook(t, fmt.Sprintf("url: %q", "https://"+silent.Addr().String()), "Ignore")
}

// foreignWebhook has the API server ask somebody about batch/v1 Jobs.
func (s *site) foreignWebhook(t *testing.T, whom, failurePolicy string) {
	t.Helper()
	s.apply(t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: night}
webhooks:
- name: jobs.night.example
  clientConfig: {%s}
  failurePolicy: %s
  timeoutSeconds: 20
  rules: [{apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}]
  admissionReviewVersions: [v1]
  sideEffects: None
`, whom, failurePolicy))
}

// holdBack has the API server answer 429 to one kind of request of Grantry's account.
func (s *site) holdBack(t *testing.T, verb, group, resource string) (letGo func()) {
	t.Helper()
	name := "night-" + verb + "-" + resource
	s.apply(t, fmt.Sprintf(`
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: %[1]s}
spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: %[1]s}
spec:
  priorityLevelConfiguration: {name: %[1]s}
  matchingPrecedence: 10
  rules:
  - subjects: [{kind: ServiceAccount, serviceAccount: {name: grantry, namespace: grantry-system}}]
    resourceRules: [{verbs: [%[2]s], apiGroups: [%[3]s], resources: [%[4]s], namespaces: ["*"], clusterScope: true}]
`, name, verb, group, resource))
	return func() {
		s.kubectl(t, "delete", "flowschema", name)
		s.kubectl(t, "delete", "prioritylevelconfiguration", name)
	}
}

// without takes a resource out of a ClusterRole of the operator's.
func (s *site) without(t *testing.T, role, resource string) {
	t.Helper()
	s.kubectl(t, "patch", "clusterrole", role, "--type=json", "-p="+s.removal(t, role, resource))
}

const beginsReconcile = "req ctrl.Request) (ctrl.Result, error) {\n"

// upgradeToBroken upgrades the release to an operator of this commit that panics at one ACL.
func (s *site) upgradeToBroken(t *testing.T) {
	t.Helper()
	tree := t.TempDir()
	copied := exec.CommandContext(t.Context(), "bash", "-c", `set -o pipefail; git archive HEAD | tar -x -C "$0"`, tree)
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("copy this commit: %v: %s", err, out)
	}
	file := filepath.Join(tree, "controllers", "acl_controller.go")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(content), beginsReconcile)
	if !found {
		t.Fatalf("%s begins its Reconcile in another way", file)
	}
	if err := os.WriteFile(file, []byte(before+beginsReconcile+"\tif req.Name == \"night-panics\" {\n\t\tpanic(\"a drill\")\n\t}\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	s.image(t, tree, broken)
	if _, err := s.Helm(t.Context(), "admin", "upgrade", "grantry", harness.ChartPath, "--namespace", space, "--reuse-values", "--set", "image.tag="+broken, "--wait", "--timeout=5m"); err != nil {
		t.Fatal(err)
	}
}
