// Package delegation decides who may hand out permissions, and take them away: whether a change of a Grant,
// a Group or an ACL is one that its requester may make.
//
// # The rule
//
// Each change takes authority over what it touches. Authority over a Grant is "full" on a resource that
// covers its ACL, by one grant that is open for the whole rest of the Grant's window: several that follow
// one another are not added up, as in effective.Covers. Superusers hold "full" on everything, for as long as
// they are superusers. What a requester lacks is a list of Needs, each of which names the ACL whose RBAC verb
// "grant" would do instead; whether the requester holds that is for the caller to ask, as it takes a cluster.
//
//	change                                takes authority over
//	Grant: create, add, widen             the Grant as it will be
//	Grant: delete, remove, narrow         the Grant as it was; nothing if it is the requester's own
//	Group: add or remove members, delete  every Grant to the group
//	ACL: create                           its resource now, and the Grants that wait for it
//	ACL: delete, change what it does      its resource now, and its Grants
//	ACL: describe                         its resource now
//
// A Grant on an ACL that does not exist may get any resource once it does: that takes a superuser. Somebody's
// own is the Grant that they wrote last; whoever changes a Grant takes it over, and so answers for all of it.
//
// Whatever the authority, a change must not leave the cluster without a permanent superuser that it had.
//
// # What it does not know
//
// Kubernetes, the clock and RBAC. Who wrote what, and what counts, is for the callers to say.
//
// # Invariants
//
//   - No sequence of allowed changes gives anybody what none of the requesters held "full" on, nor takes it
//     away.
//   - Refusals name nothing but what the requester named, and the end of the requester's own authority.
package delegation
