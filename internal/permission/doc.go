// Package permission says what a resource id means and which id covers which.
//
// It decides three things: whether a string is a well-formed resource id (ParseResource), whether an
// id covers another (Resource.Covers), and which actions satisfy which (Actions.Satisfies). Covers
// puts the three together for escalation checks. It also names the security modes, which say what others
// ask. The package knows no subjects, grants, time or Kubernetes; it only imports the standard library,
// keeps no state and reads no clock.
//
// # Families
//
// An id belongs to exactly one family, chosen by its colon-separated head. What follows the head is
// the tail, a path whose separators depend on the family:
//
//	superuser    dcos:superuser                                       no tail at all
//	jobs         dcos:service:metronome:<instance>:jobs[:dev.batch]   '.' and '/' separate, also mixed
//	services     dcos:service:marathon:<instance>:services[:/a/b]     '/' separates
//	app_id       dcos:mesos:{master,agent}:<what>:app_id[:/a/b]       '/' separates
//	role         dcos:mesos:{master,agent}:<what>:role[:slave_public] one literal segment
//	user         dcos:mesos:{master,agent}:<what>:user[:root]         one literal segment
//	principal    dcos:mesos:{master,agent}:<what>:principal[:svc]     one literal segment
//	adminrouter  dcos:adminrouter:<anything>                          compared as a whole
//	other        any other dcos:<a>:<b>:...                           ':' separates
//
// # Covering
//
// An id covers another one of the same family and head if the segments of its tail are a prefix of
// the segments of the other's tail. It is never a prefix of characters: dev.batch does not cover
// dev.batchx. Three rules complete it:
//
//   - An omitted tail covers all tails of its head. A tail is also omitted by a trailing colon, and,
//     where '/' or '.' separates, by a lone separator. A head that is cut short
//     (dcos:service:metronome) is an id of the family "other" and covers ids of that family only:
//     no id reaches into another family by being short, except dcos:superuser.
//   - Ids of the family adminrouter cover only themselves.
//   - dcos:superuser covers every id; nothing but itself covers it.
//
// "*" is a letter like any other in a role, a user, a principal and in other ids. It is refused in
// the tails of jobs, services and app_ids, where it could never match anything.
//
// # Spelling
//
// Ids are case-sensitive and printable ASCII, so that two ids that look alike are alike. "%2F" and
// "%252F" mean "/" everywhere, as in the URLs of DC/OS; any other "%" is refused. In a path one
// leading and one trailing separator are accepted. An id is kept as it was given
// (Resource.String) and compared in canonical form (Resource.Canonical).
//
// # Invariants
//
// The zero Resource covers nothing and nothing covers it. The zero Actions satisfy nothing and
// nothing satisfies them. Parsing the canonical form of a parsed id gives an equal id.
package permission
