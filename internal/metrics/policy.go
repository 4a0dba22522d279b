package metrics

// The policy that a replica decides by, which internal/policystore collects. Kinds are acl, grant and group.
var (
	// PolicySynced is 1 while there is a complete snapshot that is not too old.
	PolicySynced = gauge("policy_synced", "1 if this replica holds a complete snapshot of the policy that is not too old to decide by, else 0.")
	// PolicyObjects is how much the snapshot holds.
	PolicyObjects = gauge("policy_objects", "Objects in the snapshot of the policy.", "kind")
	// PolicySubjects is how many subjects there are.
	PolicySubjects = gauge("policy_subjects", "Users and groups with grants or memberships in the snapshot of the policy.")
	// PolicyInvalidObjects is how many objects have a part that can't be served.
	PolicyInvalidObjects = gauge("policy_invalid_objects", "Objects that the snapshot of the policy leaves out, wholly or in part, because that can't be served.", "kind")
	// PolicyMissingACLs is how many ACLs grants name that don't exist.
	PolicyMissingACLs = gauge("policy_missing_acls", "ACLs that grants name and that do not exist.")
	// PolicyPendingChanges is how many objects wait to be taken into the snapshot.
	PolicyPendingChanges = gauge("policy_pending_changes", "Objects that have changed and are not in the snapshot of the policy yet.")
	// PolicyChanged is when the snapshot was last replaced.
	PolicyChanged = gauge("policy_last_change_timestamp_seconds", "When the snapshot of the policy was last replaced, in Unix time.")
	// PolicyResourceVersion is how far the watch has come.
	PolicyResourceVersion = gauge("policy_resource_version", "Highest resourceVersion that this replica's watch has seen.", "kind")
	// ViewAge is how long ago a view was proven to be the API server's.
	ViewAge = gauge("view_age_seconds", "How long ago this replica's view of a kind was last proven to be that of the API server.", "kind")
	// ViewAgeLimit is the age beyond which nothing is decided by it.
	ViewAgeLimit = gauge("view_age_limit_seconds", "Age of the view beyond which this replica allows nothing (--max-view-age); 0 is none.")
)

// PolicyUpdateSeconds is how long it takes to make a snapshot: build is the first, apply each after it.
var PolicyUpdateSeconds = histogram("policy_update_duration_seconds",
	"Time to make a snapshot of the policy: build the first, or apply changes to the one before.", wide, "operation")
