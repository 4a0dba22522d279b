package bypass

import "net/http"

// Where things are.
const (
	ours    = "/apis/grantry.dev/v1alpha1"
	jobs    = ours + "/namespaces/metronome/jobs"
	runs    = ours + "/namespaces/metronome/jobruns"
	batches = "/apis/batch/v1/namespaces/metronome/jobs"
	pods    = "/api/v1/namespaces/metronome/pods"
	job1    = jobs + "/dev.batch.job1"
	child   = batches + "/$CHILD"
	pod     = pods + "/$POD"
)

// What the policies say.
var (
	notCreated   = refusal{byPolicy, "only Grantry creates the batch/v1 Job of a run"}
	notDeleted   = refusal{byPolicy, "to stop the run, set spec.stop of its JobRun"}
	notChanged   = refusal{byPolicy, "only Grantry changes the batch/v1 Job of a run"}
	notReported  = refusal{byPolicy, "only the Job controller writes the status of the batch/v1 Job of a run"}
	podForged    = refusal{byPolicy, "only the Job controller creates the pods of a run"}
	podDeleted   = refusal{byPolicy, "to stop the run, set spec.stop of its JobRun; to empty a node, evict the pod"}
	podChanged   = refusal{byPolicy, "only the control plane changes the pods of a run"}
	podReported  = refusal{byPolicy, "only its node and the control plane write the status of the pod of a run"}
	statusOfOurs = refusal{byPolicy, "only Grantry writes the status"}
	statusAsked  = refusal{byAuthorization, "only Grantry itself uses the subresource status"}
	notPolicy    = refusal{byAuthorization, `may not "full" on dcos:adminrouter:acs`}
	labelForged  = refusal{byPolicy, "labels under grantry.dev are Grantry's: in.grantry.dev/<path> must be the Job's own name"}
	labelRemoved = refusal{byPolicy, "labels under grantry.dev are Grantry's, and can't be removed"}
	finalizer    = refusal{byPolicy, "finalizers under grantry.dev are Grantry's"}
	otherOwner   = refusal{byPolicy, "the owners of an object can't be changed"}
	ownedByOurs  = refusal{byPolicy, "only Grantry makes a Job or a JobRun belong to an object of its own"}
	orphaned     = refusal{byPolicy, "running work can't be left without its JobRun and its Job"}
)

// aPod is a pod template's content.
const aPod = `{restartPolicy: Never, containers: [{name: c, image: busybox}]}`

// statics are refused by the API server itself, Grantry up or down, whoever asks.
func statics() []attempt {
	return append(append(onChildren(), onPods()...), onOurs()...)
}

func onChildren() []attempt {
	return []attempt{
		both("POST a batch/v1 Job with the labels of a run", "mallory", notCreated,
			http.MethodPost, batches, `{metadata: {name: x, labels: {grantry.dev/run-uid: $RUN_UID}}, spec: {template: {spec: `+aPod+`}}}`),
		both("POST a batch/v1 Job with an ancestor label", "nina", notCreated,
			http.MethodPost, batches, `{metadata: {name: x, labels: {in.grantry.dev/dev: ""}}, spec: {template: {spec: `+aPod+`}}}`),
		both("POST a batch/v1 Job whose pods would have the labels of a run", "mallory", notCreated,
			http.MethodPost, batches, `{metadata: {name: x}, spec: {template: {metadata: {labels: {grantry.dev/run-uid: $RUN_UID}}, spec: `+aPod+`}}}`),
		both("POST a batch/v1 Job that a JobRun owns", "runa", notCreated,
			http.MethodPost, batches, `{metadata: {name: x, ownerReferences: [{apiVersion: grantry.dev/v1alpha1, kind: JobRun, name: $RUN, uid: $RUN_UID, controller: true}]}, spec: {template: {spec: `+aPod+`}}}`),
		both("apply with force a batch/v1 Job with the labels of a run", "mallory", notCreated,
			applyPatch, batches+"/x?fieldManager=m&force=true", `{apiVersion: batch/v1, kind: Job, metadata: {name: x, labels: {grantry.dev/run-uid: $RUN_UID}}, spec: {template: {spec: `+aPod+`}}}`),
		both("kubectl create job --from a CronJob, with the labels of a run", "mallory", notCreated,
			http.MethodPost, batches, `{metadata: {name: foreign-manual, annotations: {cronjob.kubernetes.io/instantiate: manual}, labels: {grantry.dev/job-uid: $JOB_UID}}, spec: {template: {spec: `+aPod+`}}}`),
		both("put the labels of a run onto a batch/v1 Job of one's own", "mallory", notChanged,
			mergePatch, batches+"/foreign", `{metadata: {labels: {grantry.dev/run-uid: $RUN_UID}}}`),
		both("put the labels of a run into the pod template of a suspended batch/v1 Job", "mallory", notChanged,
			strategic, batches+"/foreign", `{spec: {template: {metadata: {labels: {in.grantry.dev/dev: ""}}}}}`),
		both("take the labels off a child", "una", notChanged,
			jsonPatch, child, `[{op: remove, path: /metadata/labels/grantry.dev~1run-uid}]`),
		both("take the owner off a child", "una", notChanged,
			mergePatch, child, `{metadata: {ownerReferences: null}}`),
		both("raise the parallelism of a child", "una", notChanged,
			strategic, child, `{spec: {parallelism: 5}}`),
		both("suspend a child", "runa", notChanged, mergePatch, child, `{spec: {suspend: true}}`),
		both("suspend a child", "root", notChanged, mergePatch, child, `{spec: {suspend: true}}`),
		both("lengthen a child's deadline by apply with force", "mallory", notChanged,
			applyPatch, child+"?fieldManager=m&force=true", `{apiVersion: batch/v1, kind: Job, metadata: {name: $CHILD}, spec: {activeDeadlineSeconds: 9999}}`),
		both("forge the mark of a revocation on a child", "una", notChanged,
			mergePatch, child, `{metadata: {annotations: {grantry.dev/suspended-by-revocation: "true"}}}`),
		both("forge which Grant allowed a child", "mallory", notChanged,
			mergePatch, child, `{metadata: {annotations: {grantry.dev/authorized-by-grant: other}}}`),
		both("put a finalizer onto a child, so that it can't be deleted", "mallory", notChanged,
			mergePatch, child, `{metadata: {finalizers: [example.com/mine]}}`),
		both("report a child as complete", "mallory", notReported,
			mergePatch, child+"/status", `{status: {succeeded: 1}}`),
		both("report a child as complete", "root", notReported,
			mergePatch, child+"/status", `{status: {succeeded: 1}}`),
		both("take the labels off a child through its status", "una", notReported,
			mergePatch, child+"/status", `{metadata: {labels: {grantry.dev/run-uid: null}}}`),
		both("delete a child", "runa", notDeleted, http.MethodDelete, child, ""),
		both("delete a child", "carol", notDeleted, http.MethodDelete, child, ""),
		both("delete a child, orphaning its pods", "alice", notDeleted,
			http.MethodDelete, child, `{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Orphan}`),
		both("delete a child in the foreground", "mallory", notDeleted,
			http.MethodDelete, child, `{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Foreground}`),
		both("delete children as a collection", "mallory", notDeleted,
			http.MethodDelete, batches+"?labelSelector=grantry.dev/run-uid", ""),
	}
}

func onPods() []attempt {
	return []attempt{
		both("POST a pod with the labels of a run", "mallory", podForged,
			http.MethodPost, pods, `{metadata: {name: x, labels: {grantry.dev/run-uid: $RUN_UID}}, spec: `+aPod+`}`),
		both("POST a pod with an ancestor label", "nina", podForged,
			http.MethodPost, pods, `{metadata: {generateName: x-, labels: {in.grantry.dev/dev.batch: ""}}, spec: `+aPod+`}`),
		both("POST a pod that a child controls", "mallory", podForged,
			http.MethodPost, pods, `{metadata: {name: x, ownerReferences: [{apiVersion: batch/v1, kind: Job, name: $CHILD, uid: $CHILD_UID, controller: true}]}, spec: `+aPod+`}`),
		both("POST a pod with the labels of a run", "system:serviceaccount:metronome:builder", podForged,
			http.MethodPost, pods, `{metadata: {name: x, labels: {grantry.dev/run-uid: $RUN_UID}}, spec: `+aPod+`}`),
		both("put the labels of a run onto a pod of one's own", "mallory", podChanged,
			mergePatch, pods+"/foreign", `{metadata: {labels: {grantry.dev/run-uid: $RUN_UID}}}`),
		both("have a child control a pod of one's own", "mallory", podChanged,
			mergePatch, pods+"/foreign", `{metadata: {ownerReferences: [{apiVersion: batch/v1, kind: Job, name: $CHILD, uid: $CHILD_UID, controller: true}]}}`),
		both("take the labels off a pod of a run", "una", podChanged,
			mergePatch, pod, `{metadata: {labels: {grantry.dev/run-uid: null}}}`),
		both("take the Job controller's label off a pod, so that the child lets it go", "una", podChanged,
			strategic, pod, `{metadata: {labels: {batch.kubernetes.io/controller-uid: mine}}}`),
		both("take the owner off a pod of a run", "una", podChanged,
			mergePatch, pod, `{metadata: {ownerReferences: null}}`),
		both("take the Job controller's finalizer off a pod of a run", "mallory", podChanged,
			mergePatch, pod, `{metadata: {finalizers: null}}`),
		both("change the image of a pod of a run", "una", podChanged,
			strategic, pod, `{spec: {containers: [{name: main, image: evil}]}}`),
		both("change the image of a pod of a run", "root", podChanged,
			jsonPatch, pod, `[{op: replace, path: /spec/containers/0/image, value: evil}]`),
		both("shorten the deadline of a pod of a run by apply with force", "mallory", podChanged,
			applyPatch, pod+"?fieldManager=m&force=true", `{apiVersion: v1, kind: Pod, metadata: {name: $POD}, spec: {activeDeadlineSeconds: 1}}`),
		both("forge which run a pod is of", "mallory", podChanged,
			mergePatch, pod, `{metadata: {annotations: {grantry.dev/run: other}}}`),
		both("forge a pod's completion index", "mallory", podChanged,
			mergePatch, pod, `{metadata: {annotations: {batch.kubernetes.io/job-completion-index: "7"}}}`),
		both("resize a pod of a run", "una", podChanged,
			strategic, pod+"/resize", `{spec: {containers: [{name: main, resources: {requests: {cpu: 900m}}}]}}`),
		both("report a pod of a run as succeeded", "mallory", podReported,
			mergePatch, pod+"/status", `{status: {phase: Succeeded}}`),
		both("take the labels off a pod through its status", "una", podReported,
			mergePatch, pod+"/status", `{metadata: {labels: {grantry.dev/run-uid: null}}}`),
		both("delete a pod of a run", "mallory", podDeleted, http.MethodDelete, pod, ""),
		both("delete a pod of a run at once", "alice", podDeleted, http.MethodDelete, pod+"?gracePeriodSeconds=0", ""),
		both("delete pods of runs as a collection", "mallory", podDeleted,
			http.MethodDelete, pods+"?labelSelector=in.grantry.dev/dev", ""),
	}
}

func onOurs() []attempt {
	return []attempt{
		each("end a run by its status", "runa", statusOfOurs, statusAsked,
			mergePatch, runs+"/$RUN/status", `{status: {conditions: [{type: Succeeded, status: "True", reason: Success, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}}`),
		each("say by a Job's status that it is authorized", "alice", statusOfOurs, statusAsked,
			mergePatch, job1+"/status", `{status: {grant: other}}`),
		each("PUT a Job's status", "carol", statusOfOurs, statusAsked,
			http.MethodPut, job1+"/status", `{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.job1, resourceVersion: "$JOB_RV"}, spec: {run: {cmd: sleep 1000}}, status: {activeRuns: 7}}`),
		each("say by a Grant's status that it counts", "mallory", statusOfOurs, statusAsked,
			applyPatch, ours+"/grants/exa-had/status?fieldManager=m&force=true", `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: exa-had}, status: {resource: "dcos:superuser"}}`),
		both("count grants by an ACL's status", "root", statusOfOurs,
			jsonPatch, ours+"/acls/dev-batch/status", `[{op: replace, path: /status/grants, value: 7}]`),
		both("count members by a Group's status", "root", statusOfOurs,
			mergePatch, ours+"/groups/marketers/status", `{status: {members: 7}}`),
		undone("label a Job into another subtree", "una", labelForged,
			mergePatch, job1, `{metadata: {labels: {in.grantry.dev/marketing: ""}}}`),
		undone("label a Job into a subtree that its name begins with", "una", labelForged,
			mergePatch, job1, `{metadata: {labels: {in.grantry.dev/dev.bat: ""}}}`),
		undone("label a Job below itself by apply with force", "una", labelForged,
			applyPatch, job1+"?fieldManager=m&force=true", `{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.job1, labels: {in.grantry.dev/dev.batch.job1.x: ""}}}`),
		undone("label a Job with a hash that is not its own", "una", labelForged,
			mergePatch, job1, `{metadata: {labels: {in.grantry.dev/dev.batch.job1_aaaaaaaaaaaaaaaaaaaa: ""}}}`),
		undone("take an ancestor label off a Job", "una", labelRemoved,
			jsonPatch, job1, `[{op: remove, path: /metadata/labels/in.grantry.dev~1dev}]`),
		undone("label a run into another subtree", "runa", labelForged,
			mergePatch, runs+"/$RUN", `{metadata: {labels: {in.grantry.dev/marketing: ""}}}`),
		undone("make a run another Job's by its label", "runa", labelForged,
			mergePatch, runs+"/$RUN", `{metadata: {labels: {grantry.dev/job-uid: other}}}`),
		both("label a Grant with a label of Grantry", "root", labelForged,
			mergePatch, ours+"/grants/root", `{metadata: {labels: {in.grantry.dev/dev: ""}}}`),
		both("put a finalizer of Grantry onto a run", "runa", finalizer,
			mergePatch, runs+"/$RUN", `{metadata: {finalizers: [grantry.dev/x]}}`),
		both("put a finalizer of Grantry onto an ACL", "root", finalizer,
			mergePatch, ours+"/acls/dev-batch", `{metadata: {finalizers: [grantry.dev/x]}}`),
		both("delete a Job by an owner that is not there", "alice", otherOwner,
			mergePatch, job1, `{metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: gone, uid: 11111111-1111-1111-1111-111111111111}]}}`),
		each("delete a Grant by an owner that is not there", "carol", otherOwner, notPolicy,
			mergePatch, ours+"/grants/root", `{metadata: {ownerReferences: [{apiVersion: v1, kind: Node, name: gone, uid: 11111111-1111-1111-1111-111111111111}]}}`),
		both("take a run away from its Job", "runa", otherOwner,
			mergePatch, runs+"/$RUN", `{metadata: {ownerReferences: null}}`),
		both("orphan the runs of a Job", "alice", orphaned,
			http.MethodDelete, job1, `{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Orphan}`),
		both("orphan the child of a run", "runa", orphaned,
			http.MethodDelete, runs+"/$RUN", `{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Orphan}`),
		both("orphan the child of a run in the old way", "alice", orphaned,
			http.MethodDelete, runs+"/$RUN", `{kind: DeleteOptions, apiVersion: v1, orphanDependents: true}`),
		both("orphan the children of runs as a collection", "root", orphaned,
			http.MethodDelete, runs, `{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Orphan}`),
		both("orphan the child of a run by a finalizer", "runa", refusal{byPolicy, "the finalizer orphan would leave running work"},
			mergePatch, runs+"/$RUN", `{metadata: {finalizers: [orphan]}}`),
		unserved("POST a run that a Job owns", "runa", ownedByOurs,
			http.MethodPost, runs, `{apiVersion: grantry.dev/v1alpha1, kind: JobRun, metadata: {name: x, ownerReferences: [{apiVersion: grantry.dev/v1alpha1, kind: Job, name: dev.batch.job1, uid: $JOB_UID, controller: true}]}, spec: {job: dev.batch.job1}}`),
	}
}

// both is an attempt that is answered alike in both modes, and by a policy with Grantry stopped, too.
func both(way, who string, answer refusal, method, path, body string) attempt {
	return each(way, who, answer, answer, method, path, body)
}

// each is an attempt that is answered by somebody else in each mode.
func each(way, who string, permissive, strict refusal, method, path, body string) attempt {
	a := attempt{way: way, who: who, send: request{method: method, path: path, body: body}, permissive: permissive, strict: strict}
	if permissive.by == byPolicy {
		a.down = permissive
	}
	return a
}

// undone is an attempt that admission undoes, and a policy refuses when it is not there.
func undone(way, who string, answer refusal, method, path, body string) attempt {
	a := both(way, who, answer, method, path, body)
	a.permissive, a.strict = refusal{by: byStamp}, refusal{by: byStamp}
	return a
}

// unserved is an attempt that fails with Grantry stopped, as admission is asked before the policies, and is refused
// by a policy also where no webhook is registered.
func unserved(way, who string, answer refusal, method, path, body string) attempt {
	a := both(way, who, answer, method, path, body)
	a.unregistered, a.down = answer, unavailable
	return a
}

// onlyStrict is an attempt on what only strict mode guards against what RBAC allows.
func onlyStrict(way, who string, answer refusal, method, path, body string) attempt {
	return each(way, who, refusal{}, answer, method, path, body)
}
