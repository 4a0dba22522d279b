package permission

// SecurityMode says how much of what DC/OS guarded is asked.
type SecurityMode string

// The security modes of DC/OS.
const (
	// ModeDisabled asks nothing.
	ModeDisabled SecurityMode = "disabled"
	// ModePermissive asks for the Job's own resource and for those of Admin Router.
	ModePermissive SecurityMode = "permissive"
	// ModeStrict also asks for what Mesos guards: dcos:mesos:master:task:app_id:<path> and the like.
	ModeStrict SecurityMode = "strict"
)
