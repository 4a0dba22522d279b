package v1alpha1

import (
	"encoding/json"
	"fmt"
)

// RunSpec is what a Metronome job file has under "run", field by field with the same names and types.
// A field that can't be honoured on Kubernetes is refused with the reason, never dropped.
//
// +kubebuilder:validation:XValidation:rule="has(self.cmd) || has(self.docker) || has(self.ucr)",message="cmd, docker or ucr image must be specified"
// +kubebuilder:validation:XValidation:rule="!(has(self.docker) && has(self.ucr))",message="either docker or ucr should be provided, but not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.cmd) && has(self.args) && size(self.args) > 0)",message="give cmd (run by a shell) or args (passed to the image's entry point), and not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.docker) && has(self.gpus) && self.gpus > 0)",message="gpus are not supported with docker: use ucr"
// +kubebuilder:validation:XValidation:rule="!(has(self.docker) && has(self.volumes) && self.volumes.exists(v, has(v.secret)))",message="file based secrets are only supported by ucr"
type RunSpec struct {
	// cmd is a shell command: it runs as /bin/sh -c. Without an image it runs in the default image of the
	// installation.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Cmd string `json:"cmd,omitempty"`

	// args are the arguments of the image's entry point, when there is no cmd.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=65536
	Args []string `json:"args,omitempty"`

	// cpus is the share of processors that is requested, in cores. Unset is 1.
	// +optional
	// +kubebuilder:validation:Minimum=0.01
	// +kubebuilder:validation:Maximum=100000
	CPUs *float64 `json:"cpus,omitempty"` //nolint:kubeapilinter // Metronome's files hold numbers

	// mem is the memory that is requested and the limit, in MiB. Unset is 128.
	// +optional
	// +kubebuilder:validation:Minimum=32
	// +kubebuilder:validation:Maximum=1000000000
	Mem *float64 `json:"mem,omitempty"` //nolint:kubeapilinter // Metronome's files hold numbers

	// disk is the ephemeral storage that is requested and the limit, in MiB. Unset or 0 asks for none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	Disk *float64 `json:"disk,omitempty"` //nolint:kubeapilinter // Metronome's files hold numbers

	// gpus is how many GPUs are requested. Unset is 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	GPUs *int32 `json:"gpus,omitempty"`

	// user runs the work: root, nobody, a numeric id, or id:group. Other names can't be resolved outside
	// the image and are refused.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	User string `json:"user,omitempty"`

	// env are environment variables: a string, or {"secret": "name"} with a name from secrets. A $(NAME) in
	// a string, in cmd or in args is text, and not replaced as in a pod.
	// +optional
	// +kubebuilder:validation:MaxProperties=1024
	Env map[string]EnvValue `json:"env,omitempty"`

	// labels are put on the run's pods: as labels where they are valid as such, else as annotations. Keys
	// of kueue.x-k8s.io are put on the batch/v1 Job, where Kueue looks for them. Keys of kubernetes.io, k8s.io
	// and grantry.dev are refused.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Labels map[string]string `json:"labels,omitempty"`

	// secrets are the secrets that env and volumes speak of, by the name that they use. Each must be used.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Secrets map[string]SecretSource `json:"secrets,omitempty"`

	// artifacts are fetched into the working directory, /mnt/mesos/sandbox, before the work starts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Artifacts []Artifact `json:"artifacts,omitempty"`

	// placement says on which nodes the work may run.
	// +optional
	Placement *Placement `json:"placement,omitempty"`

	// maxLaunchDelay is the ceiling of the delay between attempts, in seconds. Unset is 3600. A node's own
	// ceiling is 300, so that with restart ON_FAILURE a smaller one can't be honoured and is refused.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	MaxLaunchDelay *int64 `json:"maxLaunchDelay,omitempty"`

	// docker runs the work in a Docker image.
	// +optional
	Docker *DockerSpec `json:"docker,omitempty"`

	// ucr runs the work in an image, by the Universal Container Runtime.
	// +optional
	UCR *UCRSpec `json:"ucr,omitempty"`

	// networks are the networks that the work joins. Unset is the cluster's pod network.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Networks []Network `json:"networks,omitempty"`

	// restart says what happens after a failure. Unset is NEVER.
	// +optional
	Restart *Restart `json:"restart,omitempty"`

	// taskKillGracePeriodSeconds is how long the work has to end between SIGTERM and SIGKILL. A fraction
	// is rounded up, and 0 is 1. Unset is the cluster's default, 30.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	TaskKillGracePeriodSeconds *float64 `json:"taskKillGracePeriodSeconds,omitempty"` //nolint:kubeapilinter // Metronome's files hold numbers

	// volumes are mounted into the work's container.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Volumes []Volume `json:"volumes,omitempty"`
}

// EnvValue is a string, or the name of one of the run's secrets.
//
// +kubebuilder:validation:Type=""
// +kubebuilder:pruning:PreserveUnknownFields
type EnvValue struct {
	// Value is the value of the variable. Unused with Secret.
	Value string `json:"-"`
	// Secret is the name of one of the run's secrets.
	Secret string `json:"-"`
	// Invalid is what was found in place of the two, for the controller to refuse with a reason.
	Invalid string `json:"-"`
}

type envSecret struct {
	Secret string `json:"secret"`
}

// UnmarshalJSON reads a string or {"secret": "name"}. Anything else is kept as Invalid: an error here
// would make every Job of the cluster unreadable for the sake of one.
func (v *EnvValue) UnmarshalJSON(data []byte) error {
	*v = EnvValue{}
	if json.Unmarshal(data, &v.Value) == nil && string(data) != "null" {
		return nil
	}
	var fields map[string]string
	if json.Unmarshal(data, &fields) == nil && len(fields) == 1 && fields["secret"] != "" {
		v.Secret = fields["secret"]
		return nil
	}
	v.Value, v.Invalid = "", string(data)
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (v EnvValue) MarshalJSON() ([]byte, error) {
	switch {
	case v.Invalid != "":
		if !json.Valid([]byte(v.Invalid)) {
			return nil, fmt.Errorf("environment value %q is not JSON", v.Invalid)
		}
		return []byte(v.Invalid), nil
	case v.Secret != "":
		return json.Marshal(envSecret{Secret: v.Secret})
	default:
		return json.Marshal(v.Value)
	}
}

// SecretSource says where a secret is.
type SecretSource struct {
	// source is a path of the DC/OS secret store. Here it names a Secret of the Job's namespace, with "/"
	// read as ".", and its key "value"; "#key" at the end names another key: db/password#pw is the key pw
	// of the Secret db.password. A secret with a path is for the Jobs at and below the path: db/password is
	// for db and db.backup, and not for web. One without a path is for every Job of the namespace. A
	// dot in it would be mistaken for a slash, and is refused.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Source string `json:"source"`
}

// Artifact is a file that is fetched before the work starts.
type Artifact struct {
	// uri is an http or https address.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	URI string `json:"uri"`

	// executable makes the file executable; it is not unpacked then. Unset is false.
	// +optional
	Executable *bool `json:"executable,omitempty"` //nolint:kubeapilinter // Metronome's field

	// extract unpacks an archive (.tar, .tar.gz, .tgz, .tar.bz2, .tbz2, .tar.xz, .txz, .zip, .gz) and keeps
	// it. Unset is true.
	// +optional
	Extract *bool `json:"extract,omitempty"` //nolint:kubeapilinter // Metronome's field

	// cache was a hint to the Mesos fetcher. It is accepted and changes nothing: every run fetches anew.
	// +optional
	Cache *bool `json:"cache,omitempty"` //nolint:kubeapilinter // Metronome's field
}

// Placement says on which nodes the work may run.
type Placement struct {
	// constraints must all hold.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Constraints []Constraint `json:"constraints,omitempty"`
}

// Constraint compares an attribute of a node.
type Constraint struct {
	// attribute is hostname, @region, @zone or the key of a node label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	Attribute string `json:"attribute"`

	// operator is IS (EQ is read as IS), LIKE or UNLIKE: the last two take a regular expression that must
	// match the whole value of a node that is there when the run is launched.
	// +required
	// +kubebuilder:validation:Enum=IS;EQ;LIKE;UNLIKE
	Operator string `json:"operator"`

	// value is what the attribute is compared with. A constraint without value has no effect.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
}

// DockerSpec is a Docker image and how to run it.
type DockerSpec struct {
	// image is an image reference.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image"`

	// forcePullImage pulls the image even if the node has it. Unset is false.
	// +optional
	ForcePullImage *bool `json:"forcePullImage,omitempty"` //nolint:kubeapilinter // Metronome's field

	// privileged runs the container with every right on the node. Unset is false.
	// +optional
	Privileged *bool `json:"privileged,omitempty"` //nolint:kubeapilinter // Metronome's field

	// parameters were options of the docker command. They have no counterpart and are refused: use
	// template for what they asked.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Parameters []DockerParameter `json:"parameters,omitempty"`
}

// DockerParameter is an option of the docker command.
type DockerParameter struct {
	// key is the name of the option.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Key string `json:"key"`

	// value is the value of the option.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// UCRSpec is an image for the Universal Container Runtime.
type UCRSpec struct {
	// image is the image.
	// +required
	Image UCRImage `json:"image"`

	// privileged runs the container with every right on the node. Unset is false.
	// +optional
	Privileged *bool `json:"privileged,omitempty"` //nolint:kubeapilinter // Metronome's field
}

// UCRImage is an image reference.
type UCRImage struct {
	// id is an image reference.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	ID string `json:"id"`

	// kind is docker. appc images can't be run on Kubernetes and are refused. Unset is docker.
	// +optional
	// +kubebuilder:validation:Enum=docker;appc
	Kind string `json:"kind,omitempty"`

	// forcePull pulls the image even if the node has it. Unset is false.
	// +optional
	ForcePull *bool `json:"forcePull,omitempty"` //nolint:kubeapilinter // Metronome's field
}

// Network is a network that the work joins.
type Network struct {
	// mode is host (the node's network), container/bridge (the pod network) or container (a named
	// network, which has no counterpart and is refused).
	// +required
	// +kubebuilder:validation:Enum=host;container/bridge;container
	Mode string `json:"mode"`

	// name of a container network.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// labels of a container network.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
}

// Restart says what happens after a failure.
type Restart struct {
	// policy is NEVER (the run has failed) or ON_FAILURE (the work is started again within the run). A pod that
	// the cluster took away is replaced with either.
	// +required
	// +kubebuilder:validation:Enum=NEVER;ON_FAILURE
	Policy string `json:"policy"`

	// activeDeadlineSeconds is how long after the start of the run it may be started again; work that is
	// still going then is ended, which Metronome did not do. Unset is without limit. With NEVER there is
	// nothing to limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`
}

// Volume is a directory of the node, or a secret as a file.
// +kubebuilder:validation:XValidation:rule="has(self.hostPath) != has(self.secret)",message="expected a host volume (hostPath and mode) or a secret volume (secret), and not both"
// +kubebuilder:validation:XValidation:rule="!has(self.hostPath) || has(self.mode)",message="a host volume needs a mode: RO or RW"
type Volume struct {
	// containerPath is where the volume is in the container: for a secret, the path of the file. A relative
	// path is one in the working directory, which is /mnt/mesos/sandbox then.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	ContainerPath string `json:"containerPath"`

	// hostPath is an absolute path of the node.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	HostPath string `json:"hostPath,omitempty"`

	// mode of a host volume is RO (read only) or RW.
	// +optional
	// +kubebuilder:validation:Enum=RO;RW
	Mode string `json:"mode,omitempty"`

	// secret is the name of one of the run's secrets.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret,omitempty"`
}
