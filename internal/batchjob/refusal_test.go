package batchjob_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/internal/batchjob"
)

const (
	subdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	labelName = `name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`
)

// TestRefusals has every message: they are what a user of a Metronome file reads first.
func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		spec    string
		options *batchjob.Options
		want    string
	}{
		"neither form": {
			spec: `{}`,
			want: `spec: Forbidden: give either template (a batch/v1 Job template) or run (Metronome's short form), and not both`,
		},
		"both forms": {
			spec: `{run: {cmd: ls}, template: {spec: {template: {spec: {containers: [{name: a, image: b}]}}}}}`,
			want: `spec: Forbidden: give either template (a batch/v1 Job template) or run (Metronome's short form), and not both`,
		},

		"nothing to run":      {spec: `run: {user: root}`, want: `spec.run: Forbidden: cmd, docker or ucr image must be specified`},
		"args without image":  {spec: `run: {args: [a]}`, want: `spec.run: Forbidden: cmd, docker or ucr image must be specified`},
		"docker and ucr":      {spec: `run: {docker: {image: a}, ucr: {image: {id: b}}}`, want: `spec.run: Forbidden: either docker or ucr should be provided, but not both`},
		"cmd and args":        {spec: `run: {cmd: ls, args: [a]}`, want: `spec.run.args: Forbidden: give cmd (run by a shell) or args (passed to the image's entry point), and not both`},
		"docker parameters":   {spec: `run: {docker: {image: a, parameters: [{key: volume-driver, value: x}]}}`, want: `spec.run.docker.parameters: Forbidden: options of the docker command have no counterpart in Kubernetes: use template for what they asked`},
		"appc image":          {spec: `run: {ucr: {image: {id: a, kind: appc}}}`, want: `spec.run.ucr.image.kind: Forbidden: appc images can't be run on Kubernetes: use a docker image`},
		"no default image":    {spec: `run: {cmd: ls}`, options: &batchjob.Options{}, want: `spec.run.cmd: Forbidden: this installation has no default image: give docker or ucr an image`},
		"no image to fetch":   {spec: `run: {docker: {image: a}, artifacts: [{uri: "http://a/b"}]}`, options: &batchjob.Options{}, want: `spec.run.artifacts: Forbidden: this installation has no default image to fetch artifacts with`},
		"gpus with docker":    {spec: `run: {docker: {image: a}, gpus: 1}`, want: `spec.run.gpus: Forbidden: gpus are not supported with docker: use ucr`},
		"gpus of no resource": {spec: `run: {ucr: {image: {id: a}}, gpus: 1}`, options: &batchjob.Options{}, want: `spec.run.gpus: Forbidden: this installation names no resource for gpus`},
		"negative cpus":       {spec: `run: {cmd: ls, cpus: -1}`, want: `spec.run.cpus: Invalid value: -1: must be between 0 and 1000000000`},
		"too much memory":     {spec: `run: {cmd: ls, mem: 1e12}`, want: `spec.run.mem: Invalid value: 1e+12: must be between 0 and 1000000000`},
		"negative disk":       {spec: `run: {cmd: ls, disk: -5}`, want: `spec.run.disk: Invalid value: -5: must be between 0 and 1000000000`},
		"negative grace":      {spec: `run: {cmd: ls, taskKillGracePeriodSeconds: -1}`, want: `spec.run.taskKillGracePeriodSeconds: Invalid value: -1: must be between 0 and 1000000000`},

		"user by name":       {spec: `run: {cmd: ls, user: hadoop}`, want: `spec.run.user: Invalid value: "hadoop": "hadoop" can't be resolved outside the image: give root, nobody, a numeric id up to 2147483647, or id:group`},
		"group by name":      {spec: `run: {cmd: ls, user: "1000:staff"}`, want: `spec.run.user: Invalid value: "1000:staff": "staff" can't be resolved outside the image: give root, nobody, a numeric id up to 2147483647, or id:group`},
		"negative user":      {spec: `run: {cmd: ls, user: "-1"}`, want: `spec.run.user: Invalid value: "-1": "-1" can't be resolved outside the image: give root, nobody, a numeric id up to 2147483647, or id:group`},
		"user out of range":  {spec: `run: {cmd: ls, user: "2147483648"}`, want: `spec.run.user: Invalid value: "2147483648": "2147483648" can't be resolved outside the image: give root, nobody, a numeric id up to 2147483647, or id:group`},
		"user without group": {spec: `run: {cmd: ls, user: "1000:"}`, want: `spec.run.user: Invalid value: "1000:": "" can't be resolved outside the image: give root, nobody, a numeric id up to 2147483647, or id:group`},

		"env name": {
			spec: `run: {cmd: ls, env: {"a b": c}}`,
			want: `spec.run.env[a b]: Invalid value: "a b": can't be the name of an environment variable: a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')`,
		},
		"env value is never shown": {
			spec: `run: {cmd: ls, env: {A: {secret: s, password: hunter2}}}`,
			want: `spec.run.env[A]: Invalid value: expected a string or {"secret": "name"}`,
		},
		"env value is a number": {spec: `run: {cmd: ls, env: {A: 5}}`, want: `spec.run.env[A]: Invalid value: expected a string or {"secret": "name"}`},
		"undefined secrets": {
			spec: `run: {cmd: ls, env: {A: {secret: two}, B: {secret: one}}, volumes: [{containerPath: /a, secret: three}]}`,
			want: `spec.run.secrets: Forbidden: env or volumes use secrets that are not defined: one, three, two; add them here`,
		},
		"unused secrets": {
			spec: `run: {cmd: ls, env: {A: {secret: a}}, secrets: {a: {source: a}, c: {source: c}, b: {source: b}}}`,
			want: `spec.run.secrets: Forbidden: neither env nor volumes use the secrets: b, c; remove them here`,
		},
		"secret of another path": {
			spec: `run: {cmd: ls, env: {A: {secret: a}}, secrets: {a: {source: dev/batchx/password}}}`,
			want: `spec.run.secrets[a].source: Invalid value: "dev/batchx/password": a secret is for the jobs at and below its path, and dev.batch.job1 is not below dev.batchx`,
		},
		"secret name with dots": {
			spec: `run: {cmd: ls, env: {A: {secret: a}}, secrets: {a: {source: dev.x.password}}}`,
			want: `spec.run.secrets[a].source: Invalid value: "dev.x.password": a path has no dots: write "dev/x/password" for the Secret "dev.x.password"`,
		},
		"secret name of no Secret": {
			spec: `run: {cmd: ls, env: {A: {secret: a}}, secrets: {a: {source: my_secret}}}`,
			want: `spec.run.secrets[a].source: Invalid value: "my_secret": "my_secret" can't be the name of a Secret: ` + subdomain,
		},
		"secret key of no Secret": {
			spec: `run: {cmd: ls, env: {A: {secret: a}}, secrets: {a: {source: "a#b c"}}}`,
			want: `spec.run.secrets[a].source: Invalid value: "a#b c": "b c" can't be a key of a Secret: a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`,
		},

		"label of Kubernetes":      {spec: `run: {cmd: ls, labels: {app.kubernetes.io/name: a}}`, want: `spec.run.labels[app.kubernetes.io/name]: Forbidden: the key is reserved for Kubernetes or Grantry: choose another`},
		"label of k8s.io":          {spec: `run: {cmd: ls, labels: {k8s.io/a: a}}`, want: `spec.run.labels[k8s.io/a]: Forbidden: the key is reserved for Kubernetes or Grantry: choose another`},
		"label of Grantry":         {spec: `run: {cmd: ls, labels: {in.grantry.dev/prod: ""}}`, want: `spec.run.labels[in.grantry.dev/prod]: Forbidden: the key is reserved for Kubernetes or Grantry: choose another`},
		"queue of no kind":         {spec: `run: {cmd: ls, labels: {kueue.x-k8s.io/queue-name: "a b"}}`, want: `spec.run.labels[kueue.x-k8s.io/queue-name]: Invalid value: "a b": can't be the value of a label: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`},
		"label of a Job":           {spec: `run: {cmd: ls, labels: {job-name: a}}`, want: `spec.run.labels[job-name]: Forbidden: the key is reserved for Kubernetes or Grantry: choose another`},
		"label of no kind of key":  {spec: `run: {cmd: ls, labels: {"a b": c}}`, want: `spec.run.labels[a b]: Invalid value: "a b": can be the key of neither a label nor an annotation: ` + labelName},
		"attribute of no node":     {spec: `run: {cmd: ls, placement: {constraints: [{attribute: "@rack", operator: IS, value: a}]}}`, want: `spec.run.placement.constraints[0].attribute: Invalid value: "@rack": is not hostname, @region, @zone or the key of a node label: ` + labelName},
		"value of no node":         {spec: `run: {cmd: ls, placement: {constraints: [{attribute: rack, operator: IS, value: "-a"}]}}`, want: `spec.run.placement.constraints[0].value: Invalid value: "-a": no node label can have this value: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`},
		"expression of Java":       {spec: `run: {cmd: ls, placement: {constraints: [{attribute: rack, operator: LIKE, value: "a(?=b)"}]}}`, want: "spec.run.placement.constraints[0].value: Invalid value: \"a(?=b)\": is not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"},
		"expression out of a hole": {spec: `run: {cmd: ls, placement: {constraints: [{attribute: rack, operator: UNLIKE, value: "a)|(b"}]}}`, want: "spec.run.placement.constraints[0].value: Invalid value: \"a)|(b\": is not a regular expression of RE2: error parsing regexp: unexpected ): `a)|(b`"},

		"two networks":              {spec: `run: {cmd: ls, networks: [{mode: host}, {mode: container/bridge}]}`, want: `spec.run.networks: Forbidden: a pod joins one network: give only one, of mode host or container/bridge`},
		"container network":         {spec: `run: {cmd: ls, networks: [{mode: container, name: dcos}]}`, want: `spec.run.networks[0].mode: Forbidden: named container networks have no counterpart: use container/bridge for the pod network, or template`},
		"host network with a name":  {spec: `run: {cmd: ls, networks: [{mode: host, name: a}]}`, want: `spec.run.networks[0].name: Forbidden: a host network has no name`},
		"bridge with a name":        {spec: `run: {cmd: ls, networks: [{mode: container/bridge, name: a}]}`, want: `spec.run.networks[0].name: Forbidden: a container/bridge network has no name`},
		"bridge network has labels": {spec: `run: {cmd: ls, networks: [{mode: container/bridge, labels: {a: b}}]}`, want: `spec.run.networks[0].labels: Forbidden: a container/bridge network has no labels`},
		"short launch delay":        {spec: `run: {cmd: ls, restart: {policy: ON_FAILURE}, maxLaunchDelay: 299}`, want: `spec.run.maxLaunchDelay: Invalid value: 299: nodes wait up to 300 seconds between restarts, and that can't be changed: give 300 or more, or leave it out`},

		"volume of no kind":        {spec: `run: {cmd: ls, volumes: [{containerPath: /a}]}`, want: `spec.run.volumes[0]: Forbidden: expected a host volume (hostPath and mode) or a secret volume (secret), and not both`},
		"volume without mode":      {spec: `run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b}]}`, want: `spec.run.volumes[0]: Forbidden: a host volume needs a mode: RO or RW`},
		"secret file with docker":  {spec: `run: {docker: {image: a}, secrets: {s: {source: s}}, volumes: [{containerPath: /a, secret: s}]}`, want: `spec.run.volumes[0].secret: Forbidden: file based secrets are only supported by ucr`},
		"relative host path":       {spec: `run: {cmd: ls, volumes: [{containerPath: /a, hostPath: b, mode: RO}]}`, want: `spec.run.volumes[0].hostPath: Invalid value: "b": expected an absolute path without ".."`},
		"host path upwards":        {spec: `run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /srv/../etc, mode: RO}]}`, want: `spec.run.volumes[0].hostPath: Invalid value: "/srv/../etc": expected an absolute path without ".."`},
		"container path upwards":   {spec: `run: {cmd: ls, volumes: [{containerPath: ../a, hostPath: /b, mode: RO}]}`, want: `spec.run.volumes[0].containerPath: Invalid value: "../a": expected a path without ":" and ".."`},
		"container path has colon": {spec: `run: {cmd: ls, volumes: [{containerPath: "/a:rw", hostPath: /b, mode: RO}]}`, want: `spec.run.volumes[0].containerPath: Invalid value: "/a:rw": expected a path without ":" and ".."`},
		"container path is root":   {spec: `run: {cmd: ls, volumes: [{containerPath: "//", hostPath: /b, mode: RO}]}`, want: `spec.run.volumes[0].containerPath: Invalid value: "//": expected a path below the root directory or the working directory`},
		"two volumes in one place": {spec: `run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b, mode: RO}, {containerPath: /a/, hostPath: /c, mode: RO}]}`, want: `spec.run.volumes[1].containerPath: Duplicate value: "/a/"`},
		"volume over the sandbox":  {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/b"}], volumes: [{containerPath: /mnt/mesos/sandbox, hostPath: /b, mode: RO}]}`, want: `spec.run.volumes: Forbidden: artifacts and relative paths need /mnt/mesos/sandbox, and a volume is mounted there`},
		"variable of the sandbox":  {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/b"}], env: {MESOS_SANDBOX: /x}}`, want: `spec.run.env[MESOS_SANDBOX]: Forbidden: with artifacts or relative paths, Grantry sets it to /mnt/mesos/sandbox`},

		"artifact of hdfs":         {spec: `run: {cmd: ls, artifacts: [{uri: "hdfs://name/a"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: hdfs can't be fetched: the default image has no client for it; offer the file by http or https`},
		"artifact of s3":           {spec: `run: {cmd: ls, artifacts: [{uri: "s3://key:password@bucket/a"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: s3 can't be fetched: the default image has no client for it; offer the file by http or https`},
		"artifact of the node":     {spec: `run: {cmd: ls, artifacts: [{uri: "file:///etc/passwd"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: file can't be fetched: the default image has no client for it; offer the file by http or https`},
		"artifact path":            {spec: `run: {cmd: ls, artifacts: [{uri: /etc/passwd}]}`, want: `spec.run.artifacts[0].uri: Invalid value: expected an http or https address`},
		"artifact of no host":      {spec: `run: {cmd: ls, artifacts: [{uri: "http:///a"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: names no host`},
		"artifact of no address":   {spec: `run: {cmd: ls, artifacts: [{uri: "http://a b/%zz"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: is not an address`},
		"artifact with a space":    {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/b c"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: has a space: write %20`},
		"artifact of no file":      {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/b/"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: names no file: the path must end in a file name`},
		"artifact upwards":         {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/%2e%2e"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: names no file: the path must end in a file name`},
		"artifact name with NUL":   {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/b%00"}]}`, want: `spec.run.artifacts[0].uri: Invalid value: names no file: the path must end in a file name`},
		"artifacts of one name":    {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/f"}, {uri: "http://b/f"}]}`, want: `spec.run.artifacts[1].uri: Invalid value: another artifact makes a file of the same name: f`},
		"artifact unpacks to same": {spec: `run: {cmd: ls, artifacts: [{uri: "http://a/f"}, {uri: "http://b/f.gz"}]}`, want: `spec.run.artifacts[1].uri: Invalid value: another artifact makes a file of the same name: f`},

		"suspended template": {
			spec: `template: {spec: {suspend: true, template: {spec: {containers: [{name: a, image: b}]}}}}`,
			want: `spec.template.spec.suspend: Forbidden: a run is suspended and resumed by Grantry alone: set spec.suspend of the Job to hold runs back`,
		},
		"template with a time to live": {
			spec: `template: {spec: {ttlSecondsAfterFinished: 60, template: {spec: {containers: [{name: a, image: b}]}}}}`,
			want: `spec.template.spec.ttlSecondsAfterFinished: Forbidden: a run keeps its batch/v1 Job for as long as the run is kept: use successfulRunsHistoryLimit and failedRunsHistoryLimit`,
		},
		"template with a selector": {
			spec: `template: {spec: {manualSelector: true, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: a, image: b}]}}}}`,
			want: `[spec.template.spec.manualSelector: Forbidden: runs would share pods: the selector of each is generated, ` +
				`spec.template.spec.selector: Forbidden: runs would share pods: the selector of each is generated]`,
		},
		"template without container": {
			spec: `template: {spec: {template: {spec: {containers: []}}}}`,
			want: `spec.template.spec.template.spec.containers: Required value: a run has at least one container`,
		},
		"template that always restarts": {
			spec: `template: {spec: {template: {spec: {restartPolicy: Always, containers: [{name: a, image: b}]}}}}`,
			want: `spec.template.spec.template.spec.restartPolicy: Unsupported value: "Always": supported values: "Never", "OnFailure"`,
		},
		"template with an identity": {
			spec: `template: {metadata: {name: a, namespace: c, finalizers: [e]}, spec: {template: {spec: {containers: [{name: a, image: b}]}}}}`,
			want: `[spec.template.metadata.name: Forbidden: Grantry names a run's batch/v1 Job and owns it: only labels and annotations are taken over, ` +
				`spec.template.metadata.namespace: Forbidden: Grantry names a run's batch/v1 Job and owns it: only labels and annotations are taken over, ` +
				`spec.template.metadata.finalizers: Forbidden: Grantry names a run's batch/v1 Job and owns it: only labels and annotations are taken over]`,
		},
		"template with an owner": {
			spec: `template: {metadata: {generateName: b-, ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}]}, spec: {template: {spec: {containers: [{name: a, image: b}]}}}}`,
			want: `[spec.template.metadata.generateName: Forbidden: Grantry names a run's batch/v1 Job and owns it: only labels and annotations are taken over, ` +
				`spec.template.metadata.ownerReferences: Forbidden: Grantry names a run's batch/v1 Job and owns it: only labels and annotations are taken over]`,
		},
		"template of pods that can't go": {
			spec: `template: {spec: {template: {metadata: {name: a, finalizers: [example.com/x], ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}]}, spec: {containers: [{name: a, image: b}]}}}}`,
			want: `[spec.template.spec.template.metadata.finalizers: Forbidden: nobody could take them off the pods of a run, which would never go, ` +
				`spec.template.spec.template.metadata.ownerReferences: Forbidden: the pods of a run belong to its batch/v1 Job]`,
		},
		"template with our keys": {
			spec: `template: {metadata: {labels: {grantry.dev/job-uid: a}, annotations: {grantry.dev/owner: a}}, ` +
				`spec: {template: {metadata: {labels: {in.grantry.dev/prod: "", grantry.dev/run-uid: b, notgrantry.dev/a: b, in.grantry.dev: ok}}, spec: {containers: [{name: a, image: b}]}}}}`,
			want: `[spec.template.metadata.labels[grantry.dev/job-uid]: Forbidden: keys of grantry.dev are written by Grantry alone, ` +
				`spec.template.metadata.annotations[grantry.dev/owner]: Forbidden: keys of grantry.dev are written by Grantry alone, ` +
				`spec.template.spec.template.metadata.labels[grantry.dev/run-uid]: Forbidden: keys of grantry.dev are written by Grantry alone, ` +
				`spec.template.spec.template.metadata.labels[in.grantry.dev/prod]: Forbidden: keys of grantry.dev are written by Grantry alone]`,
		},
		"everything that is wrong is said at once": {
			spec: `run: {cmd: ls, user: a b, networks: [{mode: container}], docker: {image: a}, gpus: 1}`,
			want: `[spec.run.gpus: Forbidden: gpus are not supported with docker: use ucr, ` +
				`spec.run.user: Invalid value: "a b": "a b" can't be resolved outside the image: give root, nobody, a numeric id up to 2147483647, or id:group, ` +
				`spec.run.networks[0].mode: Forbidden: named container networks have no counterpart: use container/bridge for the pod network, or template]`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := withSpec(t, tc.spec)
			if tc.options != nil {
				in.Options = *tc.options
			}
			child, err := batchjob.Child(in)
			if err == nil {
				t.Fatalf("accepted: %v", child)
			}
			if child != nil {
				t.Errorf("got a child and an error")
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if got := batchjob.Validate(in.Job, in.Options).ToAggregate(); got == nil || got.Error() != err.Error() {
				t.Errorf("Validate says %v", got)
			}
		})
	}
}

func TestChild_refusesNaN(t *testing.T) {
	t.Parallel()
	in := withSpec(t, `run: {cmd: ls}`)
	in.Job.Spec.Run.CPUs = new(math.NaN())
	if _, err := batchjob.Child(in); err == nil {
		t.Error("accepted")
	}
}
