package authorization

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/test/harness"
)

// The permission strings of DC/OS's recipes for a group of jobs.
const (
	router      = "dcos:adminrouter:service:metronome full"
	readJobs    = batchID + " read"
	mesos       = "dcos:adminrouter:ops:mesos full"
	slave       = "dcos:adminrouter:ops:slave full"
	masterRole  = "dcos:mesos:master:framework:role:* read"
	masterExec  = "dcos:mesos:master:executor:app_id:/dev/batch read"
	masterTask  = "dcos:mesos:master:task:app_id:/dev/batch read"
	agentRole   = "dcos:mesos:agent:framework:role:* read"
	agentExec   = "dcos:mesos:agent:executor:app_id:/dev/batch read"
	agentTask   = "dcos:mesos:agent:task:app_id:/dev/batch read"
	sandbox     = "dcos:mesos:agent:sandbox:app_id:/dev/batch read"
	container   = "dcos:mesos:agent:container:app_id:/dev/batch read"
	nested      = "dcos:mesos:agent:nested_container_session:app_id:/dev/batch create"
	containerUp = "dcos:mesos:agent:container:app_id:/dev/batch update"
)

var (
	r1       = []string{router, readJobs, mesos, slave}
	r2       = append(slices.Clip(r1), masterRole, masterExec, masterTask, agentRole, agentExec, agentTask, sandbox)
	r4       = []string{mesos, slave}
	r4Strict = append(slices.Clip(r4), container, nested, masterExec, masterRole, masterTask)
)

// What is wanted of a pod, and which strings the recipes have for it.
var (
	seeing = []string{
		"get pods %s", "list pods -l " + inBatch, "watch pods -l " + inBatch, "get pods/status %s", "get pods/resize %s",
		"list pods -f metadata.name=%s", "watch pods -f metadata.name=%s",
		"list pods -l " + inBatch + " -f metadata.name=r1", "watch pods -l " + inBatch + " -f metadata.name=other", "list pods -l " + inBatch + " -f metadata.name=none",
	}
	logs     = []string{"get pods/log %s"}
	entering = []string{
		"create pods/exec %s", "get pods/exec %s", "create pods/attach %s", "get pods/attach %s", "create pods/portforward %s", "get pods/portforward %s",
		"get pods/proxy %s", "create pods/proxy %s", "update pods/proxy %s", "patch pods/proxy %s", "delete pods/proxy %s",
	}
	adding = []string{"patch pods/ephemeralcontainers %s", "update pods/ephemeralcontainers %s", "get pods/ephemeralcontainers %s"}
)

type need struct{ asks, strings []string }

// needs says which strings each request on a pod needs, and no others.
func needs(mode string) []need {
	if mode == "permissive" {
		return []need{{seeing, []string{readJobs, mesos}}, {logs, []string{readJobs, mesos, slave}}, {entering, r4}, {adding, r4}}
	}
	see := []string{readJobs, mesos, masterRole, masterExec, masterTask, agentRole, agentExec, agentTask}
	return []need{{seeing, see}, {logs, append(slices.Clip(see), slave, sandbox)}, {entering, r4Strict}, {adding, append(slices.Clip(r4Strict), containerUp)}}
}

// isPinned says that a request is about the pods of one Job, and not about whatever pod.
func isPinned(n need) bool {
	return slices.ContainsFunc(n.strings, func(s string) bool { return strings.Contains(s, "dev") })
}

// on names a pod in a request that has a place for it.
func on(text, pod string) string {
	if strings.Contains(text, "%s") {
		return fmt.Sprintf(text, pod)
	}
	return text
}

// tryRecipes: with exactly the strings of a recipe a user can do exactly what it is for, and with any one of them
// removed can't do what needs it.
func tryRecipes(t *testing.T, w *world) {
	t.Helper()
	access, debugging, all := r1, r4, []string{router, readJobs, mesos, slave}
	if w.mode == "strict" {
		access, debugging = r2, r4Strict
		all = append(slices.Clip(r2), container, nested, containerUp)
	}
	holders := map[string][]string{"access": access, "debugging": debugging, "everything": all}
	for i, removed := range all {
		holders[fmt.Sprintf("without-%d", i)] = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == removed })
	}
	users := map[string]*user{}
	for name, held := range holders {
		users[name] = w.holder(t, name, held...)
	}
	w.settled(t)
	for name, held := range holders {
		t.Run(name, func(t *testing.T) { tryRecipe(t, w, users[name], held, needs(w.mode)) })
	}
}

// tryRecipe tries everything as somebody who holds some of a recipe's strings.
func tryRecipe(t *testing.T, w *world, u *user, held []string, all []need) {
	t.Helper()
	reads := slices.Contains(held, readJobs)
	w.expect(t, u, reads, "get jobs dev.batch.job1", "list jobs -l "+inBatch, "watch jobs -l "+inBatch, "get jobruns r1", "list jobruns -l "+inBatch)
	w.expect(t, u, false, "get jobs dev.other", "list jobs", "update jobs dev.batch.job1", "delete jobs dev.batch.job1", "create jobs dev.batch.fresh",
		"create jobruns fresh", "delete jobruns r1", "get jobruns other", "list acls", "list pods", "list pods -l "+inDev, "delete pods r1", "patch pods r1")
	for _, n := range all {
		want := !slices.ContainsFunc(n.strings, func(s string) bool { return !slices.Contains(held, s) })
		for _, text := range n.asks {
			w.expect(t, u, want, on(text, "r1"))
			if !strings.Contains(text, "%s") {
				continue
			}
			w.expect(t, u, false, on(text, "plain"), on(text, "forged"))
			w.expect(t, u, want && !isPinned(n), on(text, "other"))
		}
	}
}

// tryJustAppeared: a pod is judged at once, although no cache has it yet.
func tryJustAppeared(t *testing.T, w *world) {
	t.Helper()
	sees := w.holder(t, "sees", append(slices.Clip(r2), container)...)
	w.settled(t)
	admin := w.clusterAdmin(t, "dora")
	mine, others := w.child(t, "r1"), w.child(t, "other")
	for i := range 20 {
		of, another := fmt.Sprintf("of-%d", i), fmt.Sprintf("another-%d", i)
		w.create(t, podOf(mine, of))
		w.expect(t, sees, true, "get pods "+of, "get pods/log "+of)
		w.create(t, podOf(others, another))
		w.expect(t, sees, false, "get pods "+another, "get pods/log "+another)
		w.create(t, podOf(others, "to-dora-"+another))
		w.expect(t, admin, w.mode == "permissive", "get pods to-dora-"+another)
	}
	w.create(t, jobRun(instance, "r2", "dev.batch.job2")) // and its run has, too
	w.create(t, podOf(w.child(t, "r2"), "r2"))
	w.expect(t, sees, true, "get pods r2", "get pods/log r2")
}

// tryOrdinaryPods: in strict mode whoever asks for a pod that is no run's waits for no read of Grantry's.
func tryOrdinaryPods(t *testing.T, w *world) {
	t.Helper()
	child := w.child(t, "r1")
	ordinary := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: "ordinary"}, Spec: batchv1.JobSpec{Template: child.Spec.Template}}
	ordinary.Spec.Template.Labels = nil
	w.create(t, ordinary)                // of somebody's CronJob, say
	stripped := podOf(child, "stripped") // a run's all the same
	stripped.Labels = nil
	w.create(t, podOf(ordinary, "of-ordinary"), stripped)
	carol := w.clusterAdmin(t, "erin")
	w.expect(t, carol, true, "get pods plain", "get pods of-ordinary", "get pods/log of-ordinary")
	w.expect(t, carol, false, "get pods stripped", "get pods r1", "get pods/log r1", "create pods/exec stripped")

	const rounds = 50
	before := gets(t, w.operator)
	for range rounds {
		w.expect(t, carol, true, "get pods plain", "get pods/log of-ordinary")
		w.expect(t, carol, false, "get pods stripped", "get pods r1")
	}
	if read := gets(t, w.operator) - before; read > rounds/5 { // the operator's own, for its work
		t.Errorf("%d rounds of four requests cost %v reads", rounds, read)
	}
	before = gets(t, w.operator)
	for range rounds {
		if code, message := w.do(t, carol, parse("get pods none")); code != http.StatusNotFound {
			t.Errorf("%d: %s", code, message)
		}
	}
	if read := gets(t, w.operator) - before; read < rounds || read > rounds+rounds/5 {
		t.Errorf("%d requests for a pod that is not there cost %v reads, want one each", rounds, read)
	}
}

// gets is how many reads an operator has sent to the API server.
func gets(t *testing.T, o *harness.Operator) (sum float64) {
	t.Helper()
	families, err := o.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		for _, label := range m.GetLabel() {
			if label.GetName() == "method" && label.GetValue() == "GET" {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
