package bypass

import "net/http"

// identities are refused by what the API server knows of who asks.
func identities() []attempt {
	onlyGrantrys := refusal{byPolicy, "only Grantry creates runs of a schedule"}
	ofOthers := refusal{byPolicy, "spec.ownerGroups are groups that the owner, writing the Job, is in"}
	return []attempt{
		unserved("POST a run as if a schedule had", "runa", onlyGrantrys,
			http.MethodPost, runs, `{apiVersion: grantry.dev/v1alpha1, kind: JobRun, metadata: {name: x}, spec: {job: dev.batch.job1, trigger: Schedule}}`),
		unserved("POST a run for a time of a schedule", "runa", onlyGrantrys,
			http.MethodPost, runs, `{apiVersion: grantry.dev/v1alpha1, kind: JobRun, metadata: {name: x}, spec: {job: dev.batch.job1, scheduledAt: "2026-01-01T00:00:00Z"}}`),
		unregistered("POST a Job whose owner is said to be in another group", "cleo", ofOthers,
			http.MethodPost, jobs, `{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.x}, spec: {owner: {kind: User, name: cleo}, ownerGroups: {names: [admins], reportedAt: "2026-01-01T00:00:00Z"}, run: {cmd: "true"}}}`),
		unregistered("say that the owner of a Job is in another group", "una", ofOthers,
			mergePatch, job1, `{spec: {ownerGroups: {names: [admins], reportedAt: "2026-01-01T00:00:00Z"}}}`),
		unregistered("say who granted, and be somebody else", "mallory", refusal{byPolicy, "spec.grantedBy is who writes the spec"},
			http.MethodPost, ours+"/grants", `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {acl: dev-batch, actions: [full], subjects: [{kind: User, name: mallory}], grantedBy: {username: alice}}}`),
		unregistered("say that one granted as a member of another group", "mallory", refusal{byPolicy, "spec.grantedBy is who writes the spec"},
			http.MethodPost, ours+"/grants", `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {acl: dev-batch, actions: [full], subjects: [{kind: User, name: mallory}], grantedBy: {username: mallory, groups: ["system:masters"]}}}`),
		unregistered("widen a Grant under the name of its granter", "mallory", refusal{byPolicy, "spec.grantedBy is who writes the spec"},
			mergePatch, ours+"/grants/rita-reads", `{spec: {actions: [full], grantedBy: {username: admin}}}`),
	}
}

// whenDown is an attempt that is made with Grantry stopped.
func whenDown(way, who string, answer refusal, method, path, body string) attempt {
	a := onlyStrict(way, who, refusal{}, method, path, body)
	a.down = answer
	return a
}

// unregistered is an attempt that is made where no webhook is registered.
func unregistered(way, who string, answer refusal, method, path, body string) attempt {
	a := onlyStrict(way, who, refusal{}, method, path, body)
	a.unregistered = answer
	return a
}

// whileDown are creations, and changes of what is wanted: they wait for Grantry, whoever asks.
func whileDown() []attempt {
	return []attempt{
		whenDown("POST a Job", "root", unavailable, http.MethodPost, jobs, aJob("dev.batch.x")),
		whenDown("POST a Job", "alice", unavailable, http.MethodPost, jobs, aJob("dev.batch.x")),
		whenDown("POST a run", "alice", unavailable, http.MethodPost, runs, aRun("dev.batch.job1")),
		whenDown("change a Job", "alice", unavailable, mergePatch, job1, `{spec: {run: {cmd: other}}}`),
		whenDown("delete a Job", "alice", unavailable, http.MethodDelete, job1, ""),
		whenDown("POST a Grant", "root", unavailable, http.MethodPost, grants, aGrant("x", "dev-batch")),
		whenDown("widen a Grant", "rita", unavailable, mergePatch, grants+"/rita-reads", `{spec: {actions: [full]}}`),
		whenDown("delete a Grant", "carol", unavailable, http.MethodDelete, grants+"/rita-reads", ""),
		whenDown("join a Group", "mallory", unavailable, mergePatch, groups+"/marketers", `{spec: {members: [{kind: User, name: mallory}]}}`),
		whenDown("stop a run", "alice", unavailable, mergePatch, runs+"/$RUN", `{spec: {stop: true}}`),
		whenDown("delete a run", "alice", unavailable, http.MethodDelete, runs+"/$RUN", ""),
	}
}

// unavailable is what the API server says when nobody answers its questions.
var unavailable = refusal{byServer, "failed calling webhook"}

func aJob(name string) string {
	return `{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: "` + name + `"}, spec: {startPolicy: OnDemand, run: {cmd: "true"}}}`
}

func aRun(job string) string {
	return `{apiVersion: grantry.dev/v1alpha1, kind: JobRun, metadata: {name: x}, spec: {job: ` + job + `}}`
}

// writing are Jobs and runs that are written by who may not, by their name.
func writing() []attempt {
	cantCreate := refusal{byAdmission, `may not "create" on jobs dev.batch.x in metronome`}
	cantCreateAny := refusal{byAuthorization, `may not "create"`}
	cantUpdate := refusal{byAdmission, `may not "update" on jobs dev.batch.job1 in metronome`}
	cantUpdateAsked := refusal{byAuthorization, `may not "update" on jobs dev.batch.job1 in metronome`}
	cantDeleteJob := refusal{byAdmission, `may not "delete" on jobs dev.batch.job1 in metronome`}
	cantDeleteAsked := refusal{byAuthorization, `may not "delete" on jobs dev.batch.job1 in metronome`}
	cantRun := refusal{byAdmission, `may not "run" on jobs dev.batch.job1 in metronome`}
	cantRunAny := refusal{byAuthorization, `may not "run"`}
	cantRunUnseen := refusal{byAuthorization, "lacks a permission on the Job of JobRun"} // to those who may not read it
	var all []attempt
	for _, who := range []string{"mallory", "rita", "runa", "una", "exa", "nora", "аlice", "Alice", "system:serviceaccount:metronome:builder"} {
		all = append(all, each("POST a Job", who, cantCreate, cantCreateAny, http.MethodPost, jobs, aJob("dev.batch.x")))
	}
	return append(all, []attempt{
		both("POST a Job, with the right for another", "nina", cantCreate, http.MethodPost, jobs, aJob("dev.batch.x")),
		both("POST a Job, with the right for another through a Group", "gus", cantCreate, http.MethodPost, jobs, aJob("dev.batch.x")),
		both("POST a Job, with the right for one whose name begins alike", "sue", cantCreate, http.MethodPost, jobs, aJob("dev.batch.x")),
		both("POST a Job one level above", "cleo", refusal{byAdmission, `may not "create" on jobs dev in metronome`}, http.MethodPost, jobs, aJob("dev")),
		both("POST a Job in a dry run", "nina", cantCreate, http.MethodPost, jobs+"?dryRun=All", aJob("dev.batch.x")),
		both("POST a Job by generateName", "nina", refusal{byAdmission, `may not "create" on jobs dev.batch.g-`}, http.MethodPost, jobs,
			`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {generateName: dev.batch.g-}, spec: {run: {cmd: "true"}}}`),
		both("POST a Job whose generated name leaves its segment", "sue", refusal{byAdmission, `may not "create" on jobs dev.batchx`}, http.MethodPost, jobs,
			`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {generateName: dev.batchx}, spec: {run: {cmd: "true"}}}`),
		each("create a Job by PUT", "nina", refusal{byServer, "not found"}, refusal{byAuthorization, `may not "update" on jobs dev.batch.x`}, http.MethodPut, jobs+"/dev.batch.x", aJob("dev.batch.x")),
		each("create a Job by apply with force", "nina", cantCreate, refusal{byAuthorization, `may not "update" on jobs dev.batch.x`},
			applyPatch, jobs+"/dev.batch.x?fieldManager=m&force=true", aJob("dev.batch.x")),
		each("create a Job by apply, with update", "una", cantCreate, refusal{byAuthorization, `may not "create" on jobs dev.batch.x`},
			applyPatch, jobs+"/dev.batch.x?fieldManager=m", aJob("dev.batch.x")),
		each("change a Job by JSON patch", "mallory", cantUpdate, cantUpdateAsked, jsonPatch, job1, `[{op: replace, path: /spec/run/cmd, value: evil}]`),
		each("change a Job by merge patch", "rita", cantUpdate, cantUpdateAsked, mergePatch, job1, `{spec: {run: {cmd: evil}}}`),
		each("change a Job by merge patch", "runa", cantUpdate, cantUpdateAsked, mergePatch, job1, `{spec: {run: {cmd: evil}}}`),
		each("change a Job by merge patch", "cleo", cantUpdate, cantUpdateAsked, mergePatch, job1, `{spec: {run: {cmd: evil}}}`),
		each("change a Job by apply with force", "nina", cantUpdate, cantUpdateAsked, applyPatch, job1+"?fieldManager=m&force=true", aJob("dev.batch.job1")),
		each("change a Job by PUT", "sue", cantUpdate, cantUpdateAsked, http.MethodPut, job1,
			`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.job1, resourceVersion: "$JOB_RV"}, spec: {run: {cmd: evil}}}`),
		each("suspend a Job", "rita", cantUpdate, cantUpdateAsked, mergePatch, job1, `{spec: {suspend: true}}`),
		each("change a Job in a dry run", "exa", cantUpdate, cantUpdateAsked, mergePatch, job1+"?dryRun=All", `{spec: {run: {cmd: evil}}}`),
		each("annotate a Job", "rita", cantUpdate, cantUpdateAsked, mergePatch, job1, `{metadata: {annotations: {example.com/note: x}}}`),
		each("put a finalizer onto a Job, so that it can't be deleted", "mallory", cantUpdate, cantUpdateAsked, mergePatch, job1, `{metadata: {finalizers: [example.com/mine]}}`),
		each("delete a Job", "una", cantDeleteJob, cantDeleteAsked, http.MethodDelete, job1, ""),
		each("delete a Job", "runa", cantDeleteJob, cantDeleteAsked, http.MethodDelete, job1, ""),
		each("delete a Job", "nina", cantDeleteJob, cantDeleteAsked, http.MethodDelete, job1, ""),
		each("delete a Job in the foreground", "mallory", cantDeleteJob, cantDeleteAsked,
			http.MethodDelete, job1, `{kind: DeleteOptions, apiVersion: v1, propagationPolicy: Foreground}`),
		each("delete Jobs as a collection", "una", cantDeleteJob, refusal{byAuthorization, `may not "delete"`}, http.MethodDelete, jobs, ""),
		each("POST a run", "mallory", cantRun, cantRunAny, http.MethodPost, runs, aRun("dev.batch.job1")),
		each("POST a run", "rita", cantRun, cantRunAny, http.MethodPost, runs, aRun("dev.batch.job1")),
		each("POST a run", "cleo", cantRun, cantRunAny, http.MethodPost, runs, aRun("dev.batch.job1")),
		both("POST a run, with the right for another Job", "nina", cantRun, http.MethodPost, runs, aRun("dev.batch.job1")),
		both("POST a run, with the right for a Job whose name begins alike", "sue", cantRun, http.MethodPost, runs, aRun("dev.batch.job1")),
		both("POST a run of a Job that is not there", "runa", refusal{byAdmission, `may not "run" on jobs secret in metronome`}, http.MethodPost, runs, aRun("secret")),
		each("delete a run", "rita", cantRun, cantRunAny, http.MethodDelete, runs+"/$RUN", ""),
		each("stop a run", "rita", cantRun, cantRunAny, mergePatch, runs+"/$RUN", `{spec: {stop: true}}`),
		each("stop a run by JSON patch", "cleo", cantRun, cantRunUnseen, jsonPatch, runs+"/$RUN", `[{op: add, path: /spec/stop, value: true}]`),
		each("stop a run in a dry run", "mallory", cantRun, cantRunUnseen, mergePatch, runs+"/$RUN?dryRun=All", `{spec: {stop: true}}`),
		each("delete runs as a collection", "mallory", cantRun, cantRunAny, http.MethodDelete, runs, ""),
		both("POST a Job for the owner of another", "cleo", stored(`"owner":{"kind":"User","name":"cleo"}`), http.MethodPost, jobs+"?dryRun=All",
			`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.x}, spec: {owner: {kind: User, name: alice}, run: {cmd: "true"}}}`),
		both("POST a Job for a group that one is not in", "cleo", stored(`"owner":{"kind":"User","name":"cleo"}`), http.MethodPost, jobs+"?dryRun=All",
			`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.x}, spec: {owner: {kind: Group, name: marketers}, run: {cmd: "true"}}}`),
		both("POST a Job with groups that one is not in", "cleo", stored(`"ownerGroups":{"names":["tenants"]`), http.MethodPost, jobs+"?dryRun=All",
			`{apiVersion: grantry.dev/v1alpha1, kind: Job, metadata: {name: dev.batch.x}, spec: {ownerGroups: {names: ["system:masters"], reportedAt: "2999-01-01T00:00:00Z"}, run: {cmd: "true"}}}`),
		both("change what runs on the owner's rights", "una", stored(`"owner":{"kind":"User","name":"una"}`), mergePatch, job1+"?dryRun=All", `{spec: {run: {cmd: evil}}}`),
		both("give a Job to somebody else", "una", stored(`"owner":{"kind":"User","name":"alice"}`), mergePatch, job1+"?dryRun=All", `{spec: {owner: {kind: User, name: nina}}}`),
		both("POST a run in the name of another", "runa", stored(`"requestedBy":{"kind":"User","name":"runa"}`), http.MethodPost, runs+"?dryRun=All",
			`{apiVersion: grantry.dev/v1alpha1, kind: JobRun, metadata: {name: x}, spec: {job: dev.batch.job1, requestedBy: {kind: User, name: alice}}}`),
		both("stop a run in the name of another", "runa", stored(`"stoppedBy":{"kind":"User","name":"runa"}`), mergePatch, runs+"/$RUN?dryRun=All",
			`{spec: {stop: true, stoppedBy: {kind: User, name: alice}}}`),
	}...)
}

// stored is what admission stores in place of what was sent.
func stored(says string) refusal { return refusal{byStamp, says} }
