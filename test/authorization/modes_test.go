package authorization

import (
	"testing"
)

func TestPermissive(t *testing.T) {
	w := newWorld(t, "permissive", "permissive")
	t.Run("the table", func(t *testing.T) { tryTable(t, w) })
	t.Run("recipes", func(t *testing.T) { tryRecipes(t, w) })
	t.Run("a pod that has just appeared", func(t *testing.T) { tryJustAppeared(t, w) })
	t.Run("as alice", func(t *testing.T) { tryAlice(t, w) })
	t.Run("a watch", func(t *testing.T) { tryWatch(t, w) })
	t.Run("RBAC comes first", func(t *testing.T) {
		carol := w.clusterAdmin(t, "carol")
		for _, e := range table {
			w.expect(t, carol, true, e.may...)
		}
		w.expect(t, carol, true, "list jobs -A", "list pods", "get pods r1", "create pods/exec r1", "get jobs/status dev", "list secrets")
	})
	t.Run("an outage takes away what Grantry adds", func(t *testing.T) {
		carol, u := w.clusterAdmin(t, "carl"), w.user(t, "reads")
		w.operator.Kill()
		for _, text := range append(elsewhere, "list jobs", "get jobruns r1", "list grants", "get pods r1") {
			w.served(t, carol, text)
		}
		for _, text := range reads.may {
			w.unserved(t, u, text)
		}
	})
}

func TestStrict(t *testing.T) {
	w := newWorld(t, "strict", "strict")
	t.Run("the table", func(t *testing.T) { tryTable(t, w) })
	t.Run("recipes", func(t *testing.T) { tryRecipes(t, w) })
	t.Run("a pod that has just appeared", func(t *testing.T) { tryJustAppeared(t, w) })
	t.Run("pods of no run cost no reads", func(t *testing.T) { tryOrdinaryPods(t, w) })
	t.Run("as alice", func(t *testing.T) { tryAlice(t, w) })
	t.Run("a watch", func(t *testing.T) { tryWatch(t, w) })
	t.Run("RBAC alone gives nothing that is guarded, and everything else", func(t *testing.T) { tryClusterAdmin(t, w) })
	t.Run("an outage refuses what is guarded, and nothing else", func(t *testing.T) { tryOutage(t, w) })
}

// TestDisabled: Grantry has no opinion, whatever somebody holds, and RBAC alone decides.
func TestDisabled(t *testing.T) {
	w := newWorld(t, "strict", "disabled") // asked about everything that it could be asked about
	holders := map[string]*user{}
	for name, e := range table {
		holders[name] = w.holder(t, name, e.holds...)
	}
	carol := w.clusterAdmin(t, "carol")
	for name, e := range table {
		w.expect(t, holders[name], false, e.may...)
		w.expect(t, holders[name], false, e.mayNot...)
		w.expect(t, carol, true, e.may...)
	}
	w.expect(t, carol, true, "list jobs", "list jobs -A", "list pods", "get pods r1", "get jobs/status dev", "list secrets")
}

// elsewhere is what Grantry does not guard.
var elsewhere = []string{
	"list secrets", "list secrets -A", "list configmaps", "list nodes", "get namespaces metronome", "list services", "list events",
	"list pods -n team", "delete pods plain", "patch pods plain", "list pods -n kube-system", "list jobs.batch", "delete jobs.batch none",
}

// tryClusterAdmin is somebody to whom RBAC gives everything.
func tryClusterAdmin(t *testing.T, w *world) {
	t.Helper()
	carol := w.clusterAdmin(t, "carol")
	for name, e := range table {
		if name != "administers-the-policy" && name != "superuser" {
			w.expect(t, carol, false, e.may...)
		}
	}
	w.expect(t, carol, false, table["administers-the-policy"].may...)
	w.expect(t, carol, false, "list jobs", "list jobs -A", "get jobs/status dev", "patch jobruns/status r1", "list pods", "watch pods", "list pods -A", "get pods r1",
		"get pods/log r1", "create pods/exec r1", "create pods/attach r1", "create pods/portforward r1", "patch pods/ephemeralcontainers r1",
		"get pods/status r1", "get pods/resize r1", "get pods/proxy r1", "delete pods/proxy r1", "list pods -f metadata.name=r1", "watch pods -f metadata.name=r1",
		"list pods -f metadata.name=none")
	for _, text := range append(elsewhere, "get pods plain", "get pods forged", "get pods/log plain", "create pods/exec plain", "watch pods -n team", "get pods none", "get pods/status plain", "get pods/proxy plain") {
		w.served(t, carol, text)
	}
	w.expect(t, carol, true, "list pods -f metadata.name=plain", "watch pods -f metadata.name=plain", "watch pods -f metadata.name=forged")
	// With a Grant for all of the namespace the list is RBAC's again.
	w.hold(t, "carol", jobsID+" read", mesos, "dcos:mesos:master:framework:role read", "dcos:mesos:master:executor:app_id read", "dcos:mesos:master:task:app_id read",
		"dcos:mesos:agent:framework:role read", "dcos:mesos:agent:executor:app_id read", "dcos:mesos:agent:task:app_id read")
	w.eventually(t, carol, "list jobs")
	w.expect(t, carol, true, "list jobs", "get jobs dev.other", "list pods", "watch pods", "get pods r1", "get pods other")
	w.expect(t, carol, false, "list jobs -A", "list pods -A", "delete jobs dev", "get pods/log r1")
}

// tryOutage ends the operator, and then nothing guarded is served but to those whom the API server does not ask
// Grantry about.
func tryOutage(t *testing.T, w *world) {
	t.Helper()
	carol := w.clusterAdmin(t, "frank")
	controller := w.user(t, "system:serviceaccount:kube-system:job-controller", "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
	w.bindClusterAdmin(t, controller.name)
	w.eventually(t, controller, "list secrets")
	owner := w.user(t, "owner")
	w.operator.Kill()
	for _, u := range []*user{carol, owner} {
		for _, text := range append(reads.may, "list jobs", "create jobs dev.batch.fresh", "list grants", "delete grants grant-0", "get pods r1", "get pods/log plain", "list pods", "create pods/exec r1") {
			w.unserved(t, u, text)
		}
	}
	for _, text := range elsewhere {
		if text != "list pods -n team" { // nobody can tell whose pods they are
			w.served(t, carol, text)
		}
		w.served(t, controller, text)
	}
	for _, text := range []string{"list pods -A", "watch pods -A", "get pods plain", "get pods/log plain", "list jobs -A", "get pods r1", "patch jobs dev"} {
		w.served(t, controller, text)
	}
	w.unserved(t, w.user(t, "system:serviceaccount:kube-system:forged"), "get pods r1") // of the name, and not of the group
	if err := w.admin.Get(t.Context(), key("r1"), podOf(w.child(t, "r1"), "r1")); err != nil {
		t.Errorf("the way in, of system:masters: %v", err)
	}

	w.operator = w.operate(t, w.mode, w.address)
	w.expect(t, owner, true, "get jobs dev", "get pods r1")
	w.expect(t, carol, false, "get jobs dev", "get pods r1")
	w.expect(t, carol, true, "list pods -n team", "get pods plain")
}
