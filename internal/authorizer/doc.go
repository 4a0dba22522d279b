// Package authorizer answers the API server's question whether a user may make a request, from a
// snapshot of the policy.
//
//	Request ─► what is asked ─► the Job (by name, by run, by pod, by label selector) ─► questions ─► snapshot
//
// What is asked of which request:
//
//	jobs       get, list, watch                   read on the Job
//	           create; update, patch              create; update
//	           delete, deletecollection           delete
//	jobruns    get, list, watch                   read on the run's Job
//	           create, update, patch, delete, …   run on the run's Job
//	acls, grants, groups                          full on dcos:adminrouter:acs
//	pods       get, list, watch; get log, status, resize
//	           exec, attach, portforward, proxy, ephemeralcontainers
//	                                              a recipe: see recipes.go
//
// A request that names an object is decided by the name. A create without one is allowed if there is
// any name for which it could be; admission decides once the name is known. Any other request without a
// name needs the action on all jobs of the namespace, or a label selector in.grantry.dev/<path> that pins
// it inside a subtree for which the action is held: the API server then filters. Nothing else narrows:
// neither a raw selector nor NotIn, nor a requirement that is not understood.
//
// Subresources that are not in the table are never implied by their parent, and what Grantry does not
// guard it has no opinion on.
//
// In permissive mode the answer is allow or no opinion, so that it can only add to RBAC. In strict mode it
// is allow or deny.
//
// A refusal says what is missing on what the request itself names. It does not name the Job of a run or
// of a pod to those who may not read that Job, and it never names Grants.
package authorizer
