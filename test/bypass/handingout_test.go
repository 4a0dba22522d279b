package bypass

import "net/http"

const (
	grants = ours + "/grants"
	groups = ours + "/groups"
	acls   = ours + "/acls"
)

// handingOut are Grants, Groups and ACLs that are written by who may not hand out, or take away, what they say.
func handingOut() []attempt {
	var all []attempt
	for _, who := range []string{"mallory", "nina", "rita", "cleo", "exa", "nora", "аlice", "system:serviceaccount:metronome:builder"} {
		all = append(all, each("grant oneself a subtree", who, mayNot("create Grant \"x\""), notPolicy, http.MethodPost, grants, aGrant("x", "dev-batch")))
	}
	return append(append(append(all, onGrants()...), onGroups()...), onACLs()...)
}

// mayNot is what admission says about handing out.
func mayNot(do string) refusal { return refusal{byAdmission, "may not " + do} }

func aGrant(name, acl string) string {
	return `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: ` + name + `}, spec: {acl: ` + acl + `, actions: [full], subjects: [{kind: User, name: mallory}]}}`
}

func onGrants() []attempt {
	widen, remove := mayNot(`change Grant "rita-reads"`), mayNot(`delete Grant "alice-dev-batch"`)
	last := refusal{byAdmission, "nobody would be a superuser for good any more"}
	return []attempt{
		each("grant on a neighbour's", "alice", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants, aGrant("x", "marketing")),
		each("make somebody a superuser", "alice", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants, aGrant("x", "everything")),
		each("grant on an ACL that is yet to come", "alice", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants, aGrant("x", "later")),
		each("grant for longer than one holds", "tim", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants, aGrant("x", "dev-batch")),
		each("grant in a dry run", "mallory", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants+"?dryRun=All", aGrant("x", "dev-batch")),
		each("grant by generateName", "mallory", mayNot("create Grant"), notPolicy, http.MethodPost, grants,
			`{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {generateName: x-}, spec: {acl: dev-batch, actions: [full], subjects: [{kind: Group, name: tenants}]}}`),
		each("grant by apply with force", "mallory", mayNot(`create Grant "x"`), notPolicy, applyPatch, grants+"/x?fieldManager=m&force=true", aGrant("x", "dev-batch")),
		each("grant in the name of another", "mallory", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants,
			`{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {acl: dev-batch, actions: [full], subjects: [{kind: User, name: mallory}], grantedBy: {username: alice, groups: ["system:masters"]}}}`),
		each("grant with the attestation of another Grant", "mallory", mayNot(`create Grant "x"`), notPolicy, http.MethodPost, grants,
			`{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: x, annotations: {grantry.dev/admitted: "$ADMITTED"}}, spec: {acl: dev-batch, actions: [full], subjects: [{kind: User, name: mallory}]}}`),
		each("widen one's own Grant by merge patch", "rita", widen, notPolicy, mergePatch, grants+"/rita-reads", `{spec: {actions: [full]}}`),
		each("add oneself to a Grant by JSON patch", "mallory", widen, notPolicy, jsonPatch, grants+"/rita-reads", `[{op: add, path: /spec/subjects/-, value: {kind: User, name: mallory}}]`),
		each("take over a Grant by apply with force", "mallory", widen, notPolicy, applyPatch, grants+"/rita-reads?fieldManager=m&force=true", aGrant("rita-reads", "dev-batch")),
		each("take off the end of a Grant", "exa", mayNot(`change Grant "exa-had"`), notPolicy, mergePatch, grants+"/exa-had", `{spec: {expiresAt: null}}`),
		each("begin a Grant before its time", "nora", mayNot(`change Grant "nora-will-have"`), notPolicy, mergePatch, grants+"/nora-will-have", `{spec: {notBefore: null}}`),
		each("move one's own Grant to another ACL", "nina", mayNot(`change Grant "nina-marketing"`), notPolicy, mergePatch, grants+"/nina-marketing", `{spec: {acl: dev-batch}}`),
		each("approve a Grant", "mallory", refusal{by: byStamp}, notPolicy, mergePatch, grants+"/rita-reads", `{metadata: {annotations: {grantry.dev/approve: "true"}}}`),
		each("delete the Grant of a neighbour", "nina", remove, notPolicy, http.MethodDelete, grants+"/alice-dev-batch", ""),
		each("delete the Grant of another", "rita", remove, notPolicy, http.MethodDelete, grants+"/alice-dev-batch", ""),
		each("delete Grants as a collection", "mallory", mayNot("delete Grant"), notPolicy, http.MethodDelete, grants, ""),
		both("delete the last superuser's Grant", "root", last, http.MethodDelete, grants+"/root", ""),
		both("give the last superuser's Grant an end", "root", last, mergePatch, grants+"/root", `{spec: {expiresAt: "2030-01-01T00:00:00Z"}}`),
		both("delete the last superuser's ACL", "root", last, http.MethodDelete, acls+"/everything", ""),
	}
}

func onGroups() []attempt {
	change := mayNot(`change Group "marketers"`)
	return []attempt{
		each("add oneself to a Group", "mallory", change, notPolicy, mergePatch, groups+"/marketers", `{spec: {members: [{kind: User, name: mallory}, {kind: User, name: gus}]}}`),
		each("add oneself to a Group by apply with force", "sue", change, notPolicy, applyPatch, groups+"/marketers?fieldManager=m&force=true",
			`{apiVersion: grantry.dev/v1alpha1, kind: Group, metadata: {name: marketers}, spec: {members: [{kind: User, name: sue}]}}`),
		each("take a member out of a Group", "alice", change, notPolicy, jsonPatch, groups+"/marketers", `[{op: remove, path: /spec/members/0}]`),
		each("delete a Group", "rita", mayNot(`delete Group "marketers"`), notPolicy, http.MethodDelete, groups+"/marketers", ""),
		each("make a Group of a name that Grants already give to", "mallory", mayNot(`create Group "writers"`), notPolicy, http.MethodPost, groups,
			`{apiVersion: grantry.dev/v1alpha1, kind: Group, metadata: {name: writers}, spec: {members: [{kind: User, name: mallory}]}}`),
	}
}

func onACLs() []attempt {
	create := mayNot(`create ACL "x"`)
	spelled := func(way, who, resource string, answer refusal) attempt {
		return each(way, who, answer, notPolicy, http.MethodPost, acls, `{apiVersion: grantry.dev/v1alpha1, kind: ACL, metadata: {name: x}, spec: {resource: "`+resource+`"}}`)
	}
	acl := func(way, who, resource string) attempt { return spelled(way, who, resource, create) }
	return []attempt{
		acl("make a second ACL of a resource", "mallory", "dcos:service:metronome:metronome:jobs:dev.batch"),
		acl("make a second ACL of a resource, spelled otherwise", "nina", "dcos:service:metronome:metronome:jobs:/dev/batch/"),
		acl("make an ACL of all jobs", "alice", "dcos:service:metronome:metronome:jobs"),
		acl("make an ACL of another namespace", "alice", "dcos:service:metronome:elsewhere:jobs:dev.batch"),
		acl("make an ACL of everything", "nina", "dcos:superuser"),
		spelled("make an ACL with a star", "alice", "dcos:service:metronome:metronome:jobs:dev.*", refusal{byAdmission, `"*" is no wildcard`}),
		spelled("make an ACL with an encoded dot", "alice", "dcos:service:metronome:metronome:jobs:dev%2Ebatch", refusal{byAdmission, `'%' starts no escaped slash`}),
		spelled("make an ACL with an empty segment", "alice", "dcos:service:metronome:metronome:jobs:dev..batch", refusal{byAdmission, `a segment of the job path is empty`}),
		spelled("make an ACL with a letter that looks alike", "alice", "dcos:service:metronome:metronome:jobs:dеv.batch", refusal{byAdmission, `a character is not ASCII`}),
		each("make a second ACL in the typed form", "nina", create, notPolicy, http.MethodPost, acls,
			`{apiVersion: grantry.dev/v1alpha1, kind: ACL, metadata: {name: x}, spec: {jobs: {namespace: metronome, path: dev.batch}}}`),
		each("describe an ACL", "rita", mayNot(`describe ACL "dev-batch"`), notPolicy, mergePatch, acls+"/dev-batch", `{spec: {description: mine}}`),
		each("delete an ACL", "rita", mayNot(`delete ACL "dev-batch"`), notPolicy, http.MethodDelete, acls+"/dev-batch", ""),
		each("delete an ACL of a neighbour", "nina", mayNot(`delete ACL "dev-batch"`), notPolicy, http.MethodDelete, acls+"/dev-batch", ""),
		each("delete ACLs as a collection", "mallory", mayNot("delete ACL"), notPolicy, http.MethodDelete, acls, ""),
		both("POST an ACL of 2000 characters", "root", refusal{bySchema, "may not be more than 1024"}, http.MethodPost, acls,
			`{apiVersion: grantry.dev/v1alpha1, kind: ACL, metadata: {name: x}, spec: {resource: "dcos:service:metronome:metronome:jobs:`+thousand+thousand+`"}}`),
	}
}
