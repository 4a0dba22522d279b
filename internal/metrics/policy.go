package metrics

// The policy that a replica decides by, which internal/policystore collects. Kinds are acl, grant and group.
var (
	// PolicySynced is 1 once there is a complete snapshot.
	PolicySynced = gauge("policy_synced", "1 if this replica holds a complete snapshot of the policy, else 0.")
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
	// PolicyProgressed is when the watch was last seen to have come further.
	PolicyProgressed = gauge("policy_watch_progress_timestamp_seconds", "When this replica's watch was last found to have come further, in Unix time.", "kind")
)

// PolicyUpdateSeconds is how long it takes to make a snapshot: build is the first, apply each after it.
var PolicyUpdateSeconds = histogram("policy_update_duration_seconds",
	"Time to make a snapshot of the policy: build the first, or apply changes to the one before.", wide, "operation")
