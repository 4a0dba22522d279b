package drill

import (
	"regexp"
	"testing"
	"time"
)

// fault is something that goes wrong at night.
type fault struct {
	alert, what string
	signs       []sign
	// inject makes it go wrong. What it returns takes away what somebody other than Grantry's operator must, and ends what
	// goes on.
	inject func(*testing.T, *site) (undo func())
	// cure are commands of the runbook that do the rest.
	cure []string
}

// What the runbook has for it.
const (
	applyChart = "helm get manifest grantry -n grantry-system | kubectl apply --server-side --force-conflicts --field-manager=helm -f -"
	deletePod  = "kubectl delete pod -n grantry-system $POD"
	restart    = "kubectl rollout restart deploy/grantry -n grantry-system"
	rollBack   = "helm rollback grantry -n grantry-system"
)

// The signs that more than one fault has.
const (
	canI = "kubectl auth can-i"
	// some is a number above 0.
	some = `(?:0\.0*)?[1-9]`
)

func shows(command, pattern, says string) sign {
	return sign{command, regexp.MustCompile("(?m)" + pattern), says}
}

// faults are in an order in which none of them hides another: a surge of refusals is one compared with the time before.
var faults = []fault{
	{
		alert: "GrantryPolicyBroken", what: "a Grant names an ACL that nobody has written",
		signs: []sign{shows("kubectl get acls.grantry.dev,grants.grantry.dev", `night-lost .*ACLNotFound`, "`ACLNotFound`")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.apply(t, `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: night-lost}, spec: {acl: nobody-wrote-it, subjects: [{kind: User, name: bob}], actions: [read]}}`)
			return func() { s.kubectl(t, "delete", "grant", "night-lost") }
		},
	},
	{
		alert: "GrantryRefusalsSurge", what: "bob asks for one Job after the other",
		signs: []sign{shows("jq", `\d bob\tget\tdcos:service:metronome:night:jobs:dev\.nothing$`, "One user, many")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			return s.ask(t, "bob", 2, 10, jobNamed("dev.nothing"))
		},
	},
	{
		alert: "GrantryDown", what: "a ResourceQuota lets no pod be made",
		signs: []sign{shows("kubectl describe replicasets,pods", `FailedCreate .*exceeded quota: night-pods`, "`exceeded quota`")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.kubectl(t, "create", "quota", "night-pods", "--hard=pods=0", "-n", space)
			s.kubectl(t, "delete", "pods", "-n", space, "-l", "app.kubernetes.io/name=grantry", "--wait=false")
			return func() { s.kubectl(t, "delete", "quota", "night-pods", "-n", space) }
		},
		cure: []string{restart},
	},
	{
		alert: "GrantryReplicaDown", what: "a replica is killed whenever it starts",
		signs: []sign{shows("kubectl describe pod -n", `Exit Code: +137$`, "`Exit Code: 137`")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			return s.killAgain(t, s.pod(t, ""))
		},
		cure: []string{deletePod},
	},
	{
		alert: "GrantryNotSynced", what: "the replicas start without the right to read Grants",
		signs: []sign{
			shows("kubectl auth can-i list $kind", `^grants no$`, "`no`"),
			shows("Failed to watch", `grants\.grantry\.dev .*is forbidden`, "Its log names the error"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.without(t, "grantry", "grants")
			s.kubectl(t, "delete", "pods", "-n", space, "-l", "app.kubernetes.io/name=grantry", "--wait=false")
			return func() {}
		},
		cure: []string{applyChart},
	},
	{
		alert: "GrantryNoLeader", what: "the operator may not write its Lease",
		signs: []sign{
			shows(canI, `^no$`, "`no`"),
			shows("Stopped leading", `"msg":"Stopped leading"`, "`Stopped leading`"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.kubectl(t, "delete", "rolebinding", "grantry-leader-election", "-n", space)
			return func() {}
		},
		cure: []string{applyChart},
	},
	{
		alert: "GrantryAdmissionFails", what: "the operator may not ask what RBAC says",
		signs: []sign{shows(canI, `^no$`, "`no`")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.without(t, "grantry", "subjectaccessreviews")
			s.without(t, "grantry-metrics-auth", "subjectaccessreviews") // for scrapes the answers are kept for five minutes
			return s.create(t, "carol", "ops.other")
		},
		cure: []string{applyChart},
	},
	{
		alert: "GrantryLaunchesFail", what: "somebody's webhook for batch/v1 Jobs has no endpoints",
		signs: []sign{shows("jq -r .error", `failed calling webhook "jobs\.night\.example"`, "`failed calling webhook`")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.foreignWebhook(t, "service: {namespace: default, name: nobody}", "Fail")
			const runs = 40
			s.runs(t, "webhook", runs)
			return func() {
				s.kubectl(t, "delete", "validatingwebhookconfiguration", "night")
				eventually(t, "the runs start by themselves", func() error { return s.launched(t, runs) })
				s.kubectl(t, "delete", "jrun", "--all", "-n", instance, "--wait=false")
			}
		},
	},
	{
		alert: "GrantryLaunchesWaiting", what: "somebody's webhook for batch/v1 Jobs takes 20 s",
		signs: []sign{
			shows("controller_runtime_reconcile_time_seconds", `\} \d\d`, "each takes long"),
			shows("apiserver_admission_webhook_admission_duration_seconds", `name="jobs\.night\.example"[^}]*\} \d\d`, "`name`"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.slowWebhook(t)
			s.runs(t, "wait", 400)
			return func() {
				s.kubectl(t, "delete", "validatingwebhookconfiguration", "night")
				s.kubectl(t, "delete", "jrun", "--all", "-n", instance, "--wait=false")
			}
		},
	},
	{
		alert: "GrantryAuthorizationSlow", what: "the API server holds live reads back, and dave asks for runs that don't exist",
		signs: []sign{
			shows("grantry_joblookup_live_read", `object="jobrun", result="error"\} `+some, "`result=\"error\"`"),
			shows("jq", `\d dave\tget\tjobruns$`, "The decision log says who"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			letGo := s.holdBack(t, "get", "grantry.dev", "jobruns")
			stop := s.ask(t, "dave", 20, 5, runThatIsNone)
			return func() { stop(); letGo() }
		},
	},
	{
		alert: "GrantryCertificateExpires", what: "the operator may not renew its certificate, which ends in a week",
		signs: []sign{
			shows("grantry_certificate_expiry", `certificate="admission"\} \d{6}(\.|$)`, "`admission`"),
			shows(canI, `^no$`, "`no`"),
			shows("cert-rotation", `secrets .*is forbidden`, "`cert-rotation`"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.withoutUpdates(t)
			s.shorten(t, 7*24*time.Hour)
			return func() {}
		},
		cure: []string{applyChart, restart},
	},
	{
		alert: "GrantryPanics", what: "an operator is installed that panics at one ACL",
		signs: []sign{shows("grep -i panic", `night-panics`, "the object")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.upgradeToBroken(t)
			s.apply(t, `{apiVersion: grantry.dev/v1alpha1, kind: ACL, metadata: {name: night-panics}, spec: {resource: "dcos:service:metronome:night:jobs:panics"}}`)
			return func() {}
		},
		cure: []string{rollBack},
	},
	{
		alert: "GrantryDecisionLogGaps", what: "what reads the replicas' output stands still",
		signs: []sign{shows("grantry_decision_log_lines_total", `result="dropped"\} `+some+`.*\n.*result="written"\} 0$`, "`written` is 0")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			goOn := s.stopReaders(t)
			stop := s.ask(t, "dave", 10, 30, jobNamed("dev.nothing"))
			return func() { stop(); goOn() }
		},
	},
	{
		alert: "GrantryUnreachable", what: "packets from the API server to the webhooks get lost",
		signs: []sign{
			shows("apiserver_authorization_webhook_evaluations_total", `result="timeout"\} `+some, "`result=\"timeout\"`"),
			shows("services/https:grantry-authorization", `i/o timeout`, "`i/o timeout`"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			goOn := s.drop(t)
			stop := s.ask(t, "alice", 1, 5, jobNamed("dev.nothing"))
			return func() { goOn(); stop() }
		},
	},
	{
		alert: "GrantryReplicasDiffer", what: "an ACL is deleted while a replica's way to the API server is cut",
		signs: []sign{
			shows("grantry_policy_objects", `kind="acl".*\} 1$`, "who has fewer"),
			shows("grantry_view_age_seconds", `kind="acl".*\} (?:[3-9]|\d\d)\d\b`, "whose view is old"),
		},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.apply(t, `{apiVersion: grantry.dev/v1alpha1, kind: ACL, metadata: {name: night-gone}, spec: {resource: "dcos:service:metronome:night:jobs:gone"}}`)
			s.renewToken(t)
			s.cut(t, s.pod(t, ""))
			// About this account's deletions nobody asks a webhook: not the replica that is cut off, either.
			s.kubectl(t, "delete", "acl", "night-gone", "--as=system:serviceaccount:kube-system:generic-garbage-collector")
			return func() {}
		},
		cure: []string{deletePod},
	},
	{
		alert: "GrantryReplicaDown", what: "a replica's way to the API server is cut",
		signs: []sign{shows("Could not begin a watch", `"Could not begin a watch".*the API server does not answer`, "`Could not begin a watch`")},
		inject: func(t *testing.T, s *site) func() {
			t.Helper()
			s.cut(t, s.pod(t, ""))
			return func() {}
		},
		cure: []string{deletePod},
	},
	{
		alert: "GrantryViewTooOld", what: "etcd hangs",
		signs:  []sign{shows("/readyz?verbose", `\[-\]etcd`, "`[-]etcd failed`")},
		inject: stopped("etcd"),
	},
	{
		alert: "GrantryDown", what: "the API server hangs",
		signs:  []sign{shows("/readyz?verbose", `(?i)timeout|unable to connect|deadline exceeded`, "`Unable to connect`, a timeout")},
		inject: stopped("kube-apiserver"),
	},
}

// stopped stops a process of the control plane, which then hangs.
func stopped(component string) func(*testing.T, *site) func() {
	return func(t *testing.T, s *site) func() {
		t.Helper()
		return s.stop(t, s.component(t, component))
	}
}
