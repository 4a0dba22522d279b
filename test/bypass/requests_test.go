package bypass

import (
	"net/http"
	"strings"
)

// What the authorization webhook, the schema and the API server say.
var (
	cantRead        = refusal{byAuthorization, `may not "read" on jobs dev.batch.job1 in metronome`}
	cantReadAll     = refusal{byAuthorization, `may not "read" on all jobs in metronome`}
	cantReadPods    = refusal{byAuthorization, `may not "full" on dcos:adminrouter:ops:mesos`}
	cantSeePod      = refusal{byAuthorization, "lacks a permission on the Job of Pod"}
	noVerb          = refusal{byRBAC, `cannot`}
	cantDelete      = refusal{byAuthorization, `may not "delete" on`}
	badName         = refusal{bySchema, "a lowercase RFC 1123 subdomain must consist of"}
	noImpersonation = refusal{byRBAC, "cannot impersonate"}
)

// requests are refused by who may do what on what name.
func requests() []attempt {
	return append(append(reading(), pretending()...), naming()...)
}

func reading() []attempt {
	return []attempt{
		both("GET a Job", "outsider", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job", "mallory", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job", "nina", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job through a Group", "gus", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job by a grant on a name that begins alike", "sue", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job by an expired grant", "exa", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job by a grant of the future", "nora", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job under a name that looks alike", "аlice", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job under a name in another case", "Alice", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job", "system:serviceaccount:metronome:builder", cantRead, http.MethodGet, job1, ""),
		onlyStrict("GET a Job", "carol", cantRead, http.MethodGet, job1, ""),
		both("list the Jobs of a namespace", "outsider", cantReadAll, http.MethodGet, jobs, ""),
		onlyStrict("list the Jobs of a namespace", "rita", cantReadAll, http.MethodGet, jobs, ""),
		onlyStrict("watch the Jobs of a namespace", "rita", cantReadAll, http.MethodGet, jobs+"?watch=1&timeoutSeconds=1", ""),
		onlyStrict("list by the label of the level above", "rita", refusal{byAuthorization, `may not "read" on jobs dev in metronome`}, http.MethodGet, jobs+"?labelSelector=in.grantry.dev/dev", ""),
		onlyStrict("list by the absence of one's own label", "rita", cantReadAll, http.MethodGet, jobs+"?labelSelector=!in.grantry.dev/dev.batch", ""),
		onlyStrict("list by a value that one's own label does not have", "rita", cantReadAll, http.MethodGet, jobs+"?labelSelector=in.grantry.dev/dev.batch!=x", ""),
		onlyStrict("list by another label", "rita", cantReadAll, http.MethodGet, jobs+"?labelSelector=dev.batch", ""),
		onlyStrict("list a neighbour by name", "rita", refusal{byAuthorization, `may not "read" on jobs marketing.email in metronome`},
			http.MethodGet, jobs+"?fieldSelector=metadata.name%3Dmarketing.email", ""),
		onlyStrict("list the Jobs of all namespaces", "rita", refusal{byAuthorization, `may not "read" on jobs`}, http.MethodGet, ours+"/jobs", ""),
		onlyStrict("GET a run", "nina", refusal{byAuthorization, "lacks a permission on the Job of JobRun"}, http.MethodGet, runs+"/$RUN", ""),
		onlyStrict("list runs", "rita", cantReadAll, http.MethodGet, runs, ""),
		onlyStrict("list Grants", "alice", notPolicy, http.MethodGet, ours+"/grants", ""),
		each("GET a pod of a run", "outsider", noVerb, cantSeePod, http.MethodGet, pod, ""),
		onlyStrict("GET a pod of a run", "rita", cantReadPods, http.MethodGet, pod, ""),
		onlyStrict("list pods", "rita", cantReadAll, http.MethodGet, pods, ""),
		onlyStrict("read the log of a run", "rita", cantReadPods, http.MethodGet, pod+"/log", ""),
		each("read the log of a run", "outsider", noVerb, cantSeePod, http.MethodGet, pod+"/log", ""),
		onlyStrict("exec in a pod of a run", "alice", cantReadPods, http.MethodPost, pod+"/exec?command=id&stdout=1", ""),
		onlyStrict("exec in a pod of a run by GET", "una", cantSeePod, http.MethodGet, pod+"/exec?command=id&stdout=1", ""),
		each("exec in a pod of a run", "outsider", noVerb, cantSeePod, http.MethodPost, pod+"/exec?command=id&stdout=1", ""),
		onlyStrict("attach to a pod of a run", "una", cantSeePod, http.MethodPost, pod+"/attach?stdout=1", ""),
		onlyStrict("forward a port of a pod of a run", "una", cantSeePod, http.MethodPost, pod+"/portforward?ports=80", ""),
		onlyStrict("add an ephemeral container to a pod of a run", "una", cantSeePod,
			strategic, pod+"/ephemeralcontainers", `{spec: {ephemeralContainers: [{name: debug, image: busybox}]}}`),
		each("add an ephemeral container to a pod of a run", "outsider", noVerb, cantSeePod,
			strategic, pod+"/ephemeralcontainers", `{spec: {ephemeralContainers: [{name: debug, image: busybox}]}}`),
		onlyStrict("delete the Jobs of a namespace as a collection", "alice", cantDelete, http.MethodDelete, jobs, ""),
		onlyStrict("delete the Jobs of a subtree as a collection, with update", "una", cantDelete, http.MethodDelete, jobs+"?labelSelector=in.grantry.dev/dev.batch", ""),
	}
}

func pretending() []attempt {
	return []attempt{
		as("alice", "impersonate the owner", "mallory", noImpersonation, http.MethodDelete, job1, ""),
		as(operator, "impersonate Grantry", "mallory", noImpersonation, mergePatch, child, `{spec: {suspend: true}}`),
		as(jobController, "impersonate the Job controller", "una", noImpersonation, mergePatch, child+"/status", `{status: {succeeded: 1}}`),
		as("mallory/system:masters", "impersonate oneself in system:masters", "mallory", noImpersonation, http.MethodDelete, job1, ""),
		both("ask for a token of Grantry's account", "mallory", refusal{byRBAC, `cannot create resource "serviceaccounts/token"`},
			http.MethodPost, "/api/v1/namespaces/grantry-system/serviceaccounts/grantry/token", `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, spec: {}}`),
		both("unbind an admission policy", "mallory", refusal{byRBAC, `cannot delete resource "validatingadmissionpolicybindings"`},
			http.MethodDelete, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/grantry-children", ""),
	}
}

func naming() []attempt {
	named := func(name string) string {
		return `{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: "` + name + `"}, spec: {run: {cmd: "true"}}}`
	}
	return []attempt{
		onAnyName("POST a Job with a star for a name", badName, named("dev.*")),
		onAnyName("POST a Job with an encoded dot", badName, named("dev%2Ebatch")),
		onAnyName("POST a Job in another case", badName, named("Dev.batch.job1")),
		onAnyName("POST a Job with an empty segment", badName, named("dev..job1")),
		onAnyName("POST a Job with a segment of a dash", badName, named("dev.-.job1")),
		onAnyName("POST a Job with a letter that looks alike", badName, named("dеv.batch.job9")),
		onAnyName("POST a Job with a composed letter", badName, named("dév.batch.job9")),
		onAnyName("POST a Job with a full-width dot", badName, named("dev．batch.job9")),
		onAnyName("POST a Job of 300 characters", refusal{byAdmission, "it has 300 characters, and may have 253"}, named(thirty+thirty+thirty+thirty+thirty+thirty+thirty+thirty+thirty+thirty)),
		onAnyName("POST a Job whose generated name has a bad segment", badName, `{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {generateName: "dev.-"}, spec: {run: {cmd: "true"}}}`),
		both("POST a Group with a group as its member", "root", refusal{bySchema, "a Group is flat"},
			http.MethodPost, ours+"/groups", `{apiVersion: grantry.dev/v1alpha1, kind: Group, metadata: {name: x}, spec: {members: [{kind: Group, name: marketers}]}}`),
		both("POST a Grant of an action that there is not", "root", refusal{bySchema, `Unsupported value: "*"`},
			http.MethodPost, ours+"/grants", `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {acl: dev-batch, actions: ["*"], subjects: [{kind: User, name: mallory}]}}`),
		both("POST a Grant of an action in another case", "root", refusal{bySchema, `Unsupported value: "FULL"`},
			http.MethodPost, ours+"/grants", `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {acl: dev-batch, actions: [FULL], subjects: [{kind: User, name: mallory}]}}`),
		both("move an ACL to another resource", "root", refusal{bySchema, "resource is immutable"},
			mergePatch, ours+"/acls/dev-batchx", `{spec: {resource: "dcos:superuser"}}`),
		both("make a run one of another Job", "root", refusal{bySchema, "the spec of a JobRun is immutable"},
			mergePatch, runs+"/$RUN", `{spec: {job: marketing.email}}`),
		both("scale a Job", "root", refusal{byServer, "not found"}, mergePatch, job1+"/scale", `{spec: {replicas: 3}}`),
		both("PUT a Job's finalizers", "root", refusal{byServer, "not found"}, http.MethodPut, job1+"/finalizers", `{}`),
	}
}

var thousand = strings.Repeat("a", 1000)

const thirty = "abcdefghijklmnopqrstuvwxyz0123"

// onAnyName is an attempt to create a Job by somebody who may create any.
func onAnyName(way string, answer refusal, body string) attempt {
	return both(way, "root", answer, http.MethodPost, jobs, body)
}

// as is an attempt to act as another user, or as one in a group ("user/group").
func as(user, way, who string, answer refusal, method, path, body string) attempt {
	a := both(way, who, answer, method, path, body)
	a.send.as = user
	return a
}
