package cel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

const (
	aliceYAML    = `{kind: User, name: alice}`
	templateYAML = `{spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}`
)

// rule says where a CEL rule is, and what it says.
type rule struct{ kind, path, message string }

// ruleCase is a rule with something that it lets through and something that it refuses. Rules about changes
// have what was there before.
type ruleCase struct {
	rule             rule
	name             string // of the object, where it matters
	before           string
	accepted         []string
	refused          []string
	acceptedName     string
	refusedOnlyByAPI bool // nothing that internal/batchjob could refuse, too
}

const subjectMessage = "a ServiceAccount needs a namespace; a User or Group has none"

// subjectCase is the rule about subjects in one of its places: %s is where a subject stands.
func subjectCase(kind, path, spec string) ruleCase {
	in := func(subject string) string { return fmt.Sprintf(spec, subject) }
	return ruleCase{
		rule:     rule{kind, path, subjectMessage},
		accepted: []string{in(aliceYAML), in(`{kind: ServiceAccount, namespace: ci, name: bot}`)},
		refused:  []string{in(`{kind: User, name: alice, namespace: ci}`), in(`{kind: ServiceAccount, name: bot}`)},
	}
}

var ruleCases = []ruleCase{
	{
		rule:     rule{"ACL", "spec", "give either resource or jobs, and not both"},
		accepted: []string{`{resource: "dcos:service:metronome:metronome:jobs:dev.batch"}`, `{jobs: {namespace: metronome, path: dev.batch}}`, `{jobs: {namespace: metronome}}`},
		refused:  []string{`{}`, `{description: nothing}`, `{resource: "dcos:superuser", jobs: {namespace: metronome}}`},
	},
	{
		rule:     rule{"ACL", "spec", "resource is immutable: delete this ACL and create another"},
		before:   `{resource: "dcos:superuser"}`,
		accepted: []string{`{resource: "dcos:superuser", description: everything}`},
		refused:  []string{`{resource: "dcos:superuser:"}`, `{jobs: {namespace: metronome}}`},
	},
	{
		rule:     rule{"ACL", "spec", "jobs is immutable: delete this ACL and create another"},
		before:   `{jobs: {namespace: metronome}}`,
		accepted: []string{`{jobs: {namespace: metronome}, description: all jobs}`},
		refused:  []string{`{jobs: {namespace: metronome, path: dev}}`, `{jobs: {namespace: other}}`, `{resource: "dcos:superuser"}`},
	},
	{
		rule: rule{"Grant", "spec", "expiresAt must be later than notBefore: this window never opens"},
		accepted: []string{
			`{acl: a, subjects: [` + aliceYAML + `], actions: [run], notBefore: "2026-01-01T00:00:00Z", expiresAt: "2026-01-01T00:00:01Z"}`,
			`{acl: a, subjects: [` + aliceYAML + `], actions: [run], notBefore: "2026-01-01T00:00:00Z"}`,
			`{acl: a, subjects: [` + aliceYAML + `], actions: [run], expiresAt: "2000-01-01T00:00:00Z"}`,
			// Later, although the text is smaller.
			`{acl: a, subjects: [` + aliceYAML + `], actions: [run], notBefore: "2026-01-01T12:00:00+10:00", expiresAt: "2026-01-01T11:00:00Z"}`,
		},
		refused: []string{
			`{acl: a, subjects: [` + aliceYAML + `], actions: [run], notBefore: "2026-01-01T00:00:00Z", expiresAt: "2026-01-01T00:00:00Z"}`,
			`{acl: a, subjects: [` + aliceYAML + `], actions: [run], notBefore: "2026-01-02T00:00:00Z", expiresAt: "2026-01-01T00:00:00Z"}`,
		},
	},
	subjectCase("Grant", "spec.subjects[]", `{acl: a, actions: [run], subjects: [{kind: Group, name: ops}, %s]}`),
	subjectCase("Group", "spec.members[]", `{members: [%s]}`),
	subjectCase("Job", "spec.owner", `{run: {cmd: ls}, owner: %s}`),
	subjectCase("JobRun", "spec.requestedBy", `{job: dev.a, requestedBy: %s}`),
	subjectCase("JobRun", "spec.stoppedBy", `{job: dev.a, stop: true, stoppedBy: %s}`),
	{
		rule:     rule{"Group", "spec.members", "a Group is flat: a member is a User or a ServiceAccount"},
		accepted: []string{`{members: []}`, `{members: [` + aliceYAML + `]}`, `{}`},
		refused:  []string{`{members: [` + aliceYAML + `, {kind: Group, name: ops}]}`},
	},
	{
		rule:             rule{"Job", "", "a job id is made of lower-case letters, digits and inner dashes, in segments separated by single dots: dev.batch.job1"},
		name:             "dev..batch-",
		acceptedName:     "dev.a--b.0",
		accepted:         []string{`{run: {cmd: ls}}`},
		refused:          []string{`{run: {cmd: ls}}`},
		refusedOnlyByAPI: true,
	},
	{
		rule:     rule{"Job", "spec", "give either template (a batch/v1 Job template) or run (Metronome's short form), and not both"},
		accepted: []string{`{run: {cmd: ls}}`, `{template: ` + templateYAML + `}`},
		refused:  []string{`{}`, `{run: {cmd: ls}, template: ` + templateYAML + `}`},
	},
	{
		rule: rule{"Job", "spec", "a Job has either schedules or dependencies, and not both"},
		accepted: []string{
			`{run: {cmd: ls}, schedules: [{id: nightly, cron: "0 0 * * *"}], dependencies: []}`,
			`{run: {cmd: ls}, schedules: [], dependencies: [{id: dev.a}]}`,
		},
		refused:          []string{`{run: {cmd: ls}, schedules: [{id: nightly, cron: "0 0 * * *"}], dependencies: [{id: dev.a}]}`},
		refusedOnlyByAPI: true,
	},
	{
		rule: rule{"Job", "spec.schedules[].cron", "cron is minute, hour, day, month, weekday and an optional year, separated by spaces: 0 9 1-7 * MON"},
		accepted: []string{
			`{run: {cmd: ls}, schedules: [{id: a, cron: "0 9 1-7 * MON"}, {id: b, cron: "*/5 0  LW 1,2 5#3 2030/2"}]}`,
		},
		refused: []string{
			`{run: {cmd: ls}, schedules: [{id: a, cron: "@every 10m"}]}`, `{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 1 1 * 2030 *"}]}`,
			`{run: {cmd: ls}, schedules: [{id: a, cron: "TZ=UTC 0 0 * * *"}]}`, `{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 ? * MON"}]}`,
		},
		refusedOnlyByAPI: true,
	},
	{
		rule: rule{"Job", "spec.schedules[].timezone", "timezone is the name of an IANA time zone: Europe/Berlin"},
		accepted: []string{
			`{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 * * *", timezone: America/Argentina/Buenos_Aires}, {id: b, cron: "0 0 * * *", timezone: Etc/GMT+5}]}`,
		},
		refused: []string{
			`{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 * * *", timezone: Local}]}`, `{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 * * *", timezone: "+02:00"}]}`,
			`{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 * * *", timezone: "../UTC"}]}`,
		},
		refusedOnlyByAPI: true,
	},
	{
		rule:     rule{"Job", "spec.run", "cmd, docker or ucr image must be specified"},
		accepted: []string{`{run: {cmd: ls}}`, `{run: {docker: {image: a}}}`, `{run: {ucr: {image: {id: a}}}}`},
		refused:  []string{`{run: {}}`, `{run: {args: [a]}}`},
	},
	{
		rule:     rule{"Job", "spec.run", "either docker or ucr should be provided, but not both"},
		accepted: []string{`{run: {docker: {image: a}}}`, `{run: {ucr: {image: {id: a}}}}`},
		refused:  []string{`{run: {docker: {image: a}, ucr: {image: {id: a}}}}`},
	},
	{
		rule:     rule{"Job", "spec.run", "give cmd (run by a shell) or args (passed to the image's entry point), and not both"},
		accepted: []string{`{run: {cmd: ls, args: []}}`, `{run: {docker: {image: a}, args: [a]}}`},
		refused:  []string{`{run: {cmd: ls, args: [a]}}`},
	},
	{
		rule:     rule{"Job", "spec.run", "gpus are not supported with docker: use ucr"},
		accepted: []string{`{run: {docker: {image: a}, gpus: 0}}`, `{run: {ucr: {image: {id: a}}, gpus: 1}}`},
		refused:  []string{`{run: {docker: {image: a}, gpus: 1}}`},
	},
	{
		rule: rule{"Job", "spec.run", "file based secrets are only supported by ucr"},
		accepted: []string{
			`{run: {ucr: {image: {id: a}}, secrets: {s: {source: s}}, volumes: [{containerPath: /a, secret: s}]}}`,
			`{run: {docker: {image: a}, volumes: [{containerPath: /a, hostPath: /b, mode: RO}]}}`,
		},
		refused: []string{`{run: {docker: {image: a}, secrets: {s: {source: s}}, volumes: [{containerPath: /a, secret: s}]}}`},
	},
	{
		rule:     rule{"Job", "spec.run.volumes[]", "expected a host volume (hostPath and mode) or a secret volume (secret), and not both"},
		accepted: []string{`{run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b, mode: RW}]}}`},
		refused: []string{
			`{run: {cmd: ls, volumes: [{containerPath: /a}]}}`,
			`{run: {cmd: ls, secrets: {s: {source: s}}, volumes: [{containerPath: /a, hostPath: /b, mode: RO, secret: s}]}}`,
		},
	},
	{
		rule:     rule{"Job", "spec.run.volumes[]", "a host volume needs a mode: RO or RW"},
		accepted: []string{`{run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b, mode: RO}]}}`},
		refused:  []string{`{run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b}]}}`},
	},
	{
		rule:   rule{"JobRun", "spec", "the spec of a JobRun is immutable, but for stop: create another JobRun"},
		before: `{job: dev.a}`,
		accepted: []string{
			`{job: dev.a, trigger: User}`,
			`{job: dev.a, trigger: User, stop: false}`,
			`{job: dev.a, trigger: User, stop: true, stoppedBy: ` + aliceYAML + `}`,
		},
		refused: []string{
			`{job: dev.b, trigger: User}`,
			`{job: dev.a, trigger: Schedule}`,
			`{job: dev.a, trigger: User, requestedBy: ` + aliceYAML + `}`,
			`{job: dev.a, trigger: User, schedule: daily}`,
			`{job: dev.a, trigger: User, scheduledAt: "2026-01-01T00:00:00Z"}`,
			`{job: dev.a, trigger: User, startingDeadlineSeconds: 60}`,
			`{job: dev.a, trigger: User, startingDeadlineSeconds: 60, stop: true}`,
		},
	},
	{
		rule:     rule{"JobRun", "spec", "stop can't be taken back: create another JobRun"},
		before:   `{job: dev.a, trigger: User, stop: true, stoppedBy: ` + aliceYAML + `}`,
		accepted: []string{`{job: dev.a, trigger: User, stop: true, stoppedBy: ` + aliceYAML + `}`},
		refused: []string{
			`{job: dev.a, trigger: User}`,
			`{job: dev.a, trigger: User, stop: false}`,
			`{job: dev.a, trigger: User, stop: true}`,
			`{job: dev.a, trigger: User, stop: true, stoppedBy: {kind: User, name: bob}}`,
		},
	},
	{
		rule:     rule{"JobRun", "spec", "stoppedBy says who has set stop: leave it out"},
		accepted: []string{`{job: dev.a}`, `{job: dev.a, stop: true}`, `{job: dev.a, stop: true, stoppedBy: ` + aliceYAML + `}`},
		refused:  []string{`{job: dev.a, stoppedBy: ` + aliceYAML + `}`, `{job: dev.a, stop: false, stoppedBy: ` + aliceYAML + `}`},
	},
}

func TestRules(t *testing.T) {
	objects := strict(t)
	for i, tc := range ruleCases {
		t.Run(tc.rule.kind+"/"+tc.rule.message, func(t *testing.T) {
			name, acceptedName := tc.name, tc.acceptedName
			if name == "" {
				name = fmt.Sprintf("rule-%d", i)
			}
			if acceptedName == "" {
				acceptedName = name
			}
			if tc.before != "" {
				before := object(t, tc.rule.kind, name, tc.before)
				if err := objects.Create(t.Context(), before); err != nil {
					t.Fatalf("create what is changed: %v", err)
				}
			}
			for _, spec := range tc.accepted {
				accepted := object(t, tc.rule.kind, acceptedName, spec)
				if err := tc.write(t, objects, accepted); err != nil {
					t.Errorf("refused %s: %v", spec, err)
				}
				if errs := launchErrors(t, accepted); len(errs) > 0 {
					t.Errorf("internal/batchjob refuses %s: %v", spec, errs)
				}
			}
			for _, spec := range tc.refused {
				refused := object(t, tc.rule.kind, name, spec)
				err := tc.write(t, objects, refused)
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.rule.message) {
					t.Errorf("%s: got %v", spec, err)
				}
				if tc.rule.kind == "Job" && !tc.refusedOnlyByAPI && tc.rule.message != subjectMessage && len(launchErrors(t, refused)) == 0 {
					t.Errorf("internal/batchjob accepts %s", spec)
				}
			}
		})
	}
}

// write creates, or updates what is there before, without keeping it.
func (tc ruleCase) write(t *testing.T, objects client.Client, obj *unstructured.Unstructured) error {
	t.Helper()
	obj = obj.DeepCopy()
	if tc.before == "" {
		return objects.Create(t.Context(), obj, client.DryRunAll)
	}
	present := &unstructured.Unstructured{}
	present.SetGroupVersionKind(obj.GroupVersionKind())
	if err := objects.Get(t.Context(), client.ObjectKeyFromObject(obj), present); err != nil {
		t.Fatal(err)
	}
	obj.SetResourceVersion(present.GetResourceVersion())
	return objects.Update(t.Context(), obj, client.DryRunAll)
}

// launchErrors are what internal/batchjob says of a Job: it must not accept what the schema refuses, as the
// command line asks it without an API server.
func launchErrors(t *testing.T, obj *unstructured.Unstructured) field.ErrorList {
	t.Helper()
	if obj.GetKind() != "Job" {
		return nil
	}
	job := &v1alpha1.Job{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, job); err != nil {
		t.Fatal(err)
	}
	return batchjob.Validate(job, batchjob.Options{DefaultImage: "busybox", GPUResource: "nvidia.com/gpu"})
}

// TestRules_areComplete finds a rule that has no case, and a case that has no rule.
func TestRules_areComplete(t *testing.T) {
	want, got := map[string]bool{}, map[string]bool{}
	for kind, crd := range crds(t) {
		walk(crd, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			for _, validation := range schema.XValidations {
				if validation.Message == "" {
					t.Errorf("%s %s: the rule %s has no message", kind, path, validation.Rule)
				}
				want[fmt.Sprintf("%s %s: %s", kind, path, validation.Message)] = true
			}
		})
	}
	for _, tc := range ruleCases {
		got[fmt.Sprintf("%s %s: %s", tc.rule.kind, tc.rule.path, tc.rule.message)] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("rules of config/crd/bases (-) and cases (+):\n%s", diff)
	}
}
