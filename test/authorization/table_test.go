package authorization

import (
	"strings"
	"testing"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	jobsID  = "dcos:service:metronome:metronome:jobs"
	batchID = jobsID + ":dev.batch"
	inDev   = "in.grantry.dev/dev"
	inBatch = "in.grantry.dev/dev.batch"
)

// entry is what somebody who holds permission strings may do, and may not.
type entry struct {
	holds       []string
	may, mayNot []string
}

// reads is every request on Jobs and runs that read on dev.batch decides, one way or the other.
var reads = entry{
	holds: []string{batchID + " read"},
	may: []string{
		"get jobs dev.batch", "get jobs dev.batch.job1",
		"list jobs -l " + inBatch, "watch jobs -l " + inBatch, "list jobs -l " + inBatch + ".job1",
		"list jobs -l " + inBatch + "=", "list jobs -l " + inBatch + " in (,x)",
		"list jobs -l " + inBatch + ",team=x", "list jobs -l !team," + inBatch, "list jobs -l " + inDev + "," + inBatch,
		"list jobs -f metadata.name=dev.batch.job1", "watch jobs -f metadata.name=dev.batch.job1",
		"list jobs -l " + inDev + " -f metadata.name=dev.batch.job1",
		"get jobruns r1", "list jobruns -l " + inBatch, "watch jobruns -l " + inBatch,
		"list jobruns -f metadata.name=r1", "watch jobruns -f metadata.name=r1",
	},
	mayNot: []string{
		"get jobs dev", "get jobs dev.batchx", "get jobs dev.other", "get jobs dev.none",
		"list jobs", "watch jobs", "list jobs -A", "list jobs -A -l " + inBatch, "list jobs -n team -l " + inBatch,
		"list jobs -l " + inDev, "watch jobs -l " + inDev, "list jobs -l in.grantry.dev/dev.batchx", "list jobs -l team=x",
		"list jobs -l !" + inBatch, "list jobs -l " + inBatch + "!=x", "list jobs -l " + inBatch + " notin (x)",
		"list jobs -l !" + inBatch + "," + inDev, "watch jobs -l " + inBatch + "!=x",
		"list jobs -f metadata.name=dev.other", "watch jobs -f metadata.name=dev.other", "list jobs -f metadata.name!=dev.other",
		"list jobs -f metadata.namespace=metronome",
		"create jobs dev.batch.fresh", "apply jobs dev.batch.job1", "apply jobs dev.batch.fresh", "update jobs dev.batch.job1",
		"patch jobs dev.batch.job1", "delete jobs dev.batch.job1", "deletecollection jobs -l " + inBatch, "deletecollection jobs",
		"get jobs/status dev.batch.job1", "patch jobs/status dev.batch.job1",
		"get jobruns other", "get jobruns none", "list jobruns", "watch jobruns", "list jobruns -l " + inDev, "list jobruns -f metadata.name=other",
		"list jobruns -l " + inBatch + "!=x", "list jobruns -l !" + inBatch,
		"create jobruns fresh", "apply jobruns fresh", "update jobruns r1", "patch jobruns r1", "delete jobruns r1",
		"deletecollection jobruns -l " + inBatch, "get jobruns/status r1",
		"list acls", "get acls acl-0", "list grants", "list groups", "create grants fresh", "get pods r1", "get pods/log r1", "list pods -l " + inBatch,
	},
}

// table has the rows of the design's request table, but for pods.
var table = map[string]entry{
	"reads": reads,
	"creates": {
		holds:  []string{batchID + " create"},
		may:    []string{"create jobs dev.batch.fresh"},
		mayNot: []string{"get jobs dev.batch.job1", "apply jobs dev.batch.fresh", "update jobs dev.batch.job1", "delete jobs dev.batch.job1", "create jobruns fresh", "create jobs fresh -n team"},
	},
	"creates-and-updates": {
		holds: []string{batchID + " create,update"},
		may: []string{
			"create jobs dev.batch.fresh", "apply jobs dev.batch.fresh", "apply jobs dev.batch.job1", "update jobs dev.batch.job1",
			"create jobruns fresh", "update jobruns r1", "patch jobruns r1", "delete jobruns r1",
		},
		mayNot: []string{"apply jobs dev.fresh", "apply jobs dev.batchx", "apply jobs dev.other", "update jobs dev.other", "get jobs dev.batch.job1"},
	},
	"updates": {
		holds:  []string{batchID + " update"},
		may:    []string{"apply jobs dev.batch.job1", "update jobs dev.batch.job1", "patch jobs dev.batch.job1", "create jobruns fresh", "delete jobruns r1", "deletecollection jobruns -l " + inBatch},
		mayNot: []string{"apply jobs dev.batch.fresh", "create jobs dev.batch.fresh", "patch jobs dev.other", "delete jobs dev.batch.job1", "patch jobs/status dev.batch.job1", "delete jobruns other"},
	},
	"deletes": {
		holds: []string{batchID + " delete"},
		may: []string{
			"delete jobs dev.batch.job1", "deletecollection jobs -l " + inBatch, "deletecollection jobs -l " + inBatch + ".job1",
			"deletecollection jobs -f metadata.name=dev.batch.job1",
		},
		mayNot: []string{
			"delete jobs dev.other", "deletecollection jobs", "deletecollection jobs -l " + inDev, "deletecollection jobs -l " + inBatch + "!=x",
			"deletecollection jobs -l !" + inBatch, "deletecollection jobs -f metadata.name=dev.other", "get jobs dev.batch.job1",
			"delete jobruns r1", "deletecollection jobruns -l " + inBatch,
		},
	},
	"runs": {
		holds: []string{batchID + " run"},
		may:   []string{"create jobruns fresh", "apply jobruns r1", "update jobruns r1", "patch jobruns r1", "delete jobruns r1", "deletecollection jobruns -l " + inBatch, "deletecollection jobruns -f metadata.name=r1"},
		mayNot: []string{
			"apply jobruns fresh", "delete jobruns other", "patch jobruns other", "deletecollection jobruns", "deletecollection jobruns -l " + inDev,
			"deletecollection jobruns -f metadata.name=other", "patch jobruns/status r1", "get jobruns r1", "get jobs dev.batch.job1", "update jobs dev.batch.job1",
		},
	},
	"all-of-the-namespace": {
		holds: []string{jobsID + " create,read,update,delete,run"},
		may: []string{
			"list jobs", "watch jobs", "list jobs -l !" + inBatch, "list jobs -f metadata.name!=x", "get jobs dev.other", "apply jobs fresh",
			"deletecollection jobs", "list jobruns", "watch jobruns", "apply jobruns fresh", "deletecollection jobruns", "get jobruns other",
		},
		mayNot: []string{"list jobs -A", "list jobs -n team", "create jobs fresh -n team", "list acls", "get pods r1", "get jobs/status dev", "patch jobruns/status r1"},
	},
	"administers-the-policy": {
		holds: []string{"dcos:adminrouter:acs full"},
		may: []string{
			"get acls acl-0", "list acls", "watch acls", "create acls fresh", "apply acls fresh", "update acls acl-0", "patch acls acl-0", "delete acls acl-0", "deletecollection acls",
			"get grants grant-0", "list grants", "watch grants", "create grants fresh", "apply grants fresh", "update grants grant-0", "patch grants grant-0", "delete grants grant-0", "deletecollection grants",
			"get groups team", "list groups", "watch groups", "create groups fresh", "apply groups fresh", "update groups team", "patch groups team", "delete groups team", "deletecollection groups",
		},
		mayNot: []string{"get acls/status acl-0", "patch grants/status grant-0", "list jobs", "get jobs dev", "create jobruns fresh"},
	},
	"reads-the-policy-only": { // nothing but full is asked for
		holds:  []string{"dcos:adminrouter:acs read,create,update,delete,run"},
		mayNot: []string{"get acls acl-0", "list grants", "create groups fresh", "delete grants grant-0"},
	},
	"superuser": {
		holds: []string{superuser},
		may: []string{
			"list jobs", "list jobs -A", "apply jobs fresh", "deletecollection jobs", "list jobruns -A", "delete jobruns other", "list acls",
			"create grants fresh", "get pods r1", "get pods/log r1", "create pods/exec r1", "list pods -l " + inDev,
		},
		mayNot: []string{"get jobs/status dev", "patch jobs/status dev", "get jobruns/status r1", "get acls/status acl-0", "list secrets", "get pods plain", "get pods forged"},
	},
	// DC/OS's Admin Router asks for it before it lets anyone through to Metronome. There is no Metronome here: the
	// string is kept and never asked for.
	"metronome": {
		holds:  []string{"dcos:adminrouter:service:metronome full"},
		mayNot: []string{"get jobs dev", "list jobs", "create jobs fresh", "get jobruns r1", "list acls", "get pods r1"},
	},
	"nothing": {
		mayNot: []string{"get jobs dev", "list jobs", "list jobs -l " + inBatch, "create jobs fresh", "create jobruns fresh", "get jobruns r1", "list acls", "get pods r1", "get pods none", "list pods"},
	},
}

// tryTable has nobody whom RBAC gives anything: the answers of the two modes are the same. Each request is made, and
// asked about as by kubectl auth can-i.
func tryTable(t *testing.T, w *world) {
	t.Helper()
	users := map[string]*user{}
	for name, e := range table {
		users[name] = w.holder(t, name, e.holds...)
	}
	w.holdAs(t, v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: "devs"}, reads.holds...)
	w.holdAs(t, v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: "team"}, reads.holds...)
	w.settled(t)
	for name, e := range table {
		t.Run(name, func(t *testing.T) {
			w.expect(t, users[name], true, e.may...)
			w.expect(t, users[name], false, e.mayNot...)
		})
	}
	t.Run("a group of the certificate, and of a Group object", func(t *testing.T) {
		for _, u := range []*user{w.user(t, "in-a-group", "ops", "devs"), w.user(t, "member")} {
			w.expect(t, u, true, "get jobs dev.batch.job1", "list jobs -l "+inBatch)
			w.expect(t, u, false, "get jobs dev.other", "list jobs")
		}
	})
	t.Run("reasons", func(t *testing.T) { tryReasons(t, w, users["reads"]) })
}

// tryReasons: they are read by a person: what is missing, and nothing about what the person may not see.
func tryReasons(t *testing.T, w *world, u *user) {
	t.Helper()
	for text, want := range map[string]string{
		"get jobs dev.other":          `user reads may not "read" on jobs dev.other in metronome`,
		"list jobs":                   `user reads may not "read" on all jobs in metronome; a label selector in.grantry.dev/<path> asks for the jobs at and below a path only`,
		"list jobs -l " + inDev:       `user reads may not "read" on jobs dev in metronome`,
		"create jobs fresh":           `user reads may not "create" on any job in metronome`,
		"delete jobruns r1":           `user reads may not "run" on jobs dev.batch.job1 in metronome`,
		"get jobruns other":           "user reads lacks a permission on the Job of JobRun metronome/other, or there is none",
		"get jobruns none":            "user reads lacks a permission on the Job of JobRun metronome/none, or there is none",
		"list grants":                 `user reads may not "full" on dcos:adminrouter:acs`,
		"patch jobs/status dev.batch": "only Grantry itself uses the subresource status of jobs",
		"get pods r1":                 `user reads may not "full" on dcos:adminrouter:ops:mesos`,
	} {
		if _, message := w.may(t, u, text); !strings.Contains(message, want) {
			t.Errorf("%s: %q does not say %q", text, message, want)
		}
	}
}
