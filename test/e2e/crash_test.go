//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// kills is how often the operator is killed, two times a round. KILLS overrides it.
func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KILLS")
	if text == "" {
		return 100
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 {
		t.Fatalf("KILLS=%q is not a number of at least 2", text)
	}
	return n
}

// TestKilledOperator kills the operator at random moments under load. In each round there are new Jobs and
// runs of three owners: alice, who is granted everything; bob, who is granted nothing; carol, whose Grant
// is deleted at the start of the round and given back at its end. No run is lost, none is launched twice,
// none is launched without permission: carol's runs of a round have no child before her Grant is back. Some
// of carol's runs are suspended whenever her Grant goes, and resumed whenever it is back.
func TestKilledOperator(t *testing.T) {
	const ns = "crash"
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cluster, c, binary := start(t, "--kwok-nodes=5")
	create(t, c, namespace(ns),
		jobACL("team-a", ns, "team-a"), grant("alice", "team-a", "alice"),
		jobACL("team-c", ns, "team-c"), grant("carol", "team-c", "carol"),
		job(ns, "team-a.ondemand", "alice", v1alpha1.StartOnDemand),
		job(ns, "team-b.ondemand", "bob", v1alpha1.StartOnDemand),
		job(ns, "team-c.ondemand", "carol", v1alpha1.StartOnDemand),
		suspendedOnRevoke(job(ns, "team-c.suspend", "carol", v1alpha1.StartOnDemand)),
	)
	for i := range suspendedRuns {
		create(t, c, jobRun(ns, fmt.Sprintf("team-c-suspend-%d", i), "team-c.suspend"))
	}
	children := keepLedger(t, cluster, ns)
	rounds := kills(t) / 2
	for round := range rounds {
		if err := c.Delete(t.Context(), grant("carol", "", "")); err != nil {
			t.Fatal(err)
		}
		revoked := addLoad(t, c, ns, round)
		killWhileWorking(t, cluster, binary, random)
		for _, run := range revoked {
			if n := launchedLive(t, c, ns, run); n != 0 {
				t.Fatalf("round %d: run %s has %d children, and carol has no Grant", round, run, n)
			}
		}
		create(t, c, grant("carol", "team-c", "carol"))
		killWhileWorking(t, cluster, binary, random)
	}
	operator := cluster.RunOperator(t, binary)
	defer operator.Stop()
	checkConverged(t, c, ns, children, rounds)
	t.Logf("%d kills; %d runs launched, each once", 2*rounds, children.runs())
}

// load of each owner in each round: Jobs that run at their creation, and runs of a Job that exists.
const (
	jobsPerRound = 6
	runsPerRound = 4
)

// suspendedRuns are carol's runs that are suspended and resumed in each round.
const suspendedRuns = 5

func suspendedOnRevoke(job *v1alpha1.Job) *v1alpha1.Job {
	job.Spec.OnRevoke = v1alpha1.RevokeSuspend
	return job
}

// addLoad creates a round's Jobs and runs, and returns the UIDs of carol's runs.
func addLoad(t *testing.T, c client.Client, ns string, round int) (revoked []types.UID) {
	t.Helper()
	for team, owner := range map[string]string{"team-a": "alice", "team-b": "bob", "team-c": "carol"} {
		for i := range jobsPerRound {
			create(t, c, job(ns, fmt.Sprintf("%s.r%d.j%d", team, round, i), owner, v1alpha1.StartOnCreate))
		}
		for i := range runsPerRound {
			run := jobRun(ns, fmt.Sprintf("%s-r%d-%d", team, round, i), team+".ondemand")
			create(t, c, run)
			if owner == "carol" {
				revoked = append(revoked, run.UID)
			}
		}
	}
	return revoked
}

// killWhileWorking runs the operator for a moment that ends somewhere between its start and its being
// done with everything: half of the time it is counted from the start, half of the time from readiness.
func killWhileWorking(t *testing.T, cluster *harness.Cluster, binary string, random *rand.Rand) {
	t.Helper()
	operator, err := cluster.StartOperator(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	moment := 2 * time.Second
	if random.IntN(2) == 0 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := operator.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
		moment = 400 * time.Millisecond
	}
	time.Sleep(time.Duration(random.Int64N(int64(moment))))
	operator.Kill()
}

// launchedLive counts the children of a run as the API server holds them.
func launchedLive(t *testing.T, c client.Client, ns string, run types.UID) int {
	t.Helper()
	children := childList()
	err := c.List(t.Context(), children, client.InNamespace(ns), client.MatchingLabels{v1alpha1.LabelRun: string(run)})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return len(children.Items)
}

// checkConverged waits until every run that may be launched is, and checks that it was once, and that no
// other was.
func checkConverged(t *testing.T, c client.Client, ns string, children *ledger, rounds int) {
	t.Helper()
	runs := &v1alpha1.JobRunList{}
	each := rounds * (jobsPerRound + runsPerRound)
	want, wantActive := 3*each+suspendedRuns, 2*each+suspendedRuns
	harness.Eventually(t, 5*time.Minute, func() string {
		if err := c.List(t.Context(), runs, client.InNamespace(ns)); err != nil {
			return err.Error()
		}
		active := 0
		for _, r := range runs.Items {
			if stateOf(&r) == v1alpha1.StateActive {
				active++
			}
		}
		if len(runs.Items) != want || active != wantActive {
			return fmt.Sprintf("%d of %d runs, of which %d of %d are active", len(runs.Items), want, active, wantActive)
		}
		return ""
	})
	for _, r := range runs.Items {
		granted := r.Spec.Job[:6] != "team-b"
		switch n := children.of(r.UID); {
		case granted && n != 1:
			t.Errorf("run %s has had %d children, want 1", r.Name, n)
		case !granted && n != 0:
			t.Errorf("run %s has had %d children, and bob has no Grant", r.Name, n)
		}
	}
}
