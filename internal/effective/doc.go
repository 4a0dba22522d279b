// Package effective answers who may do what, from ACLs, Grants and Groups.
//
// A Snapshot is immutable and answers without locks: Decide (is it allowed, and by which grant),
// Explain (the same with the nearest miss), WhoCan, PermissionsOf, Covers (may somebody hand this
// out), ImpactOf (what differs between two snapshots), and counts. Build makes one from everything,
// Apply makes the next one from a few changes and shares the rest. The two agree: a snapshot depends
// on the objects that it holds and on nothing else.
//
// # What counts
//
// A grant counts if its ACL exists and its window is open: NotBefore <= at < ExpiresAt. Grants only
// add up, there is no deny. A subject has its own grants, those of the groups that the authenticator
// reported, and those of the groups of which a Group object makes it a member. Groups are flat.
// Which id covers which, and what an action is worth, is decided by package permission.
//
// # What it does not know
//
// Kubernetes, the clock and the network. Whether a grant was accepted, whether a job exists, and what
// a request needs, is for the callers to say. Times go in with each question, so a snapshot does not
// age: NextEdge only tells when a verdict may change.
//
// # How it is done
//
// A subject keeps its grants sorted by the hash of their ACL's resource. A decision hashes the
// resource once, a hash per ancestor, looks up the asker and its groups, and searches their grants for
// these few hashes; most subjects are passed over by a small Bloom filter. Whatever a hash finds is
// compared before it counts. All tables are persistent B+ trees, of which a change copies one path.
//
// # Invariants
//
//   - The zero Verdict is a refusal; so is every answer to a query without a resource, an action or a
//     subject that is known.
//   - Adding a grant takes no right away.
//   - The result does not depend on the order of the input, and lists are sorted.
//   - Nothing that is returned aliases what a snapshot holds, other than strings.
package effective
