package cel

import (
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestSchema has, for each bound, pattern and enum that people meet, what just fits and what does not.
func TestSchema(t *testing.T) {
	objects := strict(t)
	const grant = `{acl: a, subjects: [{kind: User, name: alice}], actions: [run]}`
	for name, tc := range map[string]struct {
		kind              string
		accepted, refused []string
		want              string
	}{
		"an ACL's resource has a length": {
			"ACL", []string{`{resource: "` + long(1024) + `"}`}, []string{`{resource: "` + long(1025) + `"}`, `{resource: ""}`}, "spec.resource",
		},
		"an ACL's path is a job id": {
			"ACL",
			[]string{`{jobs: {namespace: a, path: dev.a--b.1}}`},
			[]string{`{jobs: {namespace: a, path: dev.}}`, `{jobs: {namespace: a, path: Dev}}`, `{jobs: {namespace: a, path: a_b}}`, `{jobs: {namespace: a, path: ""}}`},
			"spec.jobs.path",
		},
		"an ACL's namespace is one": {
			"ACL", []string{`{jobs: {namespace: a-1}}`}, []string{`{jobs: {namespace: A}}`, `{jobs: {namespace: a.b}}`, `{jobs: {path: dev}}`, `{jobs: {namespace: "` + long(64) + `"}}`}, "spec.jobs.namespace",
		},
		"an ACL's description has a length": {
			"ACL", []string{`{resource: a, description: "` + long(1024) + `"}`}, []string{`{resource: a, description: "` + long(1025) + `"}`}, "spec.description",
		},
		"a Grant has an ACL": {
			"Grant", []string{grant}, []string{strings.Replace(grant, "acl: a", `acl: ""`, 1), strings.Replace(grant, "acl: a, ", "", 1)}, "spec.acl",
		},
		"a Grant has 1 to 1000 subjects": {
			"Grant",
			[]string{strings.Replace(grant, "{kind: User, name: alice}", subjects(1000), 1)},
			[]string{strings.Replace(grant, "{kind: User, name: alice}", "", 1), strings.Replace(grant, "{kind: User, name: alice}", subjects(1001), 1)},
			"spec.subjects",
		},
		"a Grant has known actions, each once": {
			"Grant",
			[]string{strings.Replace(grant, "[run]", "[create, read, update, delete, full, run]", 1)},
			[]string{strings.Replace(grant, "[run]", "[]", 1), strings.Replace(grant, "[run]", "[write]", 1), strings.Replace(grant, "[run]", "[run, run]", 1), strings.Replace(grant, "[run]", "[Read]", 1)},
			"spec.actions",
		},
		"a Grant's times are times": {
			"Grant", []string{strings.Replace(grant, "{acl: a", `{notBefore: "2026-01-01T00:00:00Z", acl: a`, 1)}, []string{strings.Replace(grant, "{acl: a", `{notBefore: tomorrow, acl: a`, 1)}, "spec.notBefore",
		},
		"a subject has a known kind": {
			"Group", []string{`{members: [{kind: ServiceAccount, namespace: a, name: b}]}`}, []string{`{members: [{kind: Robot, name: b}]}`, `{members: [{name: b}]}`}, "spec.members[0].kind",
		},
		"a subject has a name": {
			"Group", []string{`{members: [{kind: User, name: "` + long(256) + `"}]}`}, []string{`{members: [{kind: User, name: ""}]}`, `{members: [{kind: User}]}`, `{members: [{kind: User, name: "` + long(257) + `"}]}`}, "spec.members[0].name",
		},
		"a Group has up to 1000 members": {
			"Group", []string{`{members: [` + subjects(1000) + `]}`}, []string{`{members: [` + subjects(1001) + `]}`}, "spec.members",
		},
		"a Job's start policy": {
			"Job", []string{`{run: {cmd: ls}, startPolicy: OnDemand}`}, []string{`{run: {cmd: ls}, startPolicy: Never}`}, "spec.startPolicy",
		},
		"a Job's revocation policy": {
			"Job", []string{`{run: {cmd: ls}, onRevoke: Suspend}`, `{run: {cmd: ls}, onRevoke: Delete}`}, []string{`{run: {cmd: ls}, onRevoke: Kill}`}, "spec.onRevoke",
		},
		"a Job's history": {
			"Job",
			[]string{`{run: {cmd: ls}, failedRunsHistoryLimit: 0}`, `{run: {cmd: ls}, successfulRunsHistoryLimit: 1000}`},
			[]string{`{run: {cmd: ls}, failedRunsHistoryLimit: -1}`, `{run: {cmd: ls}, failedRunsHistoryLimit: 1001}`},
			"spec.failedRunsHistoryLimit",
		},
		"how long a run is kept": {
			"Job",
			[]string{`{run: {cmd: ls}, ttlSecondsAfterFinished: 0}`, `{run: {cmd: ls}, ttlSecondsAfterFinished: 315360000}`},
			[]string{`{run: {cmd: ls}, ttlSecondsAfterFinished: -1}`, `{run: {cmd: ls}, ttlSecondsAfterFinished: 315360001}`},
			"spec.ttlSecondsAfterFinished",
		},
		"schedules have different ids": {
			"Job",
			[]string{`{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 * * *"}, {id: b, cron: "0 0 * * *"}]}`},
			[]string{`{run: {cmd: ls}, schedules: [{id: a, cron: "0 0 * * *"}, {id: a, cron: "0 1 * * *"}]}`},
			"spec.schedules[1]",
		},
		"a schedule's id": {
			"Job",
			[]string{`{run: {cmd: ls}, schedules: [{id: every-night, cron: "0 0 * * *"}]}`},
			[]string{`{run: {cmd: ls}, schedules: [{id: Nightly, cron: "0 0 * * *"}]}`, `{run: {cmd: ls}, schedules: [{id: a-, cron: "0 0 * * *"}]}`, `{run: {cmd: ls}, schedules: [{cron: "0 0 * * *"}]}`},
			"spec.schedules[0].id",
		},
		"a schedule's cron": {
			"Job", []string{`{run: {cmd: ls}, schedules: [{id: a, cron: "* * * * *"}]}`}, []string{`{run: {cmd: ls}, schedules: [{id: a, cron: "* * *"}]}`, `{run: {cmd: ls}, schedules: [{id: a}]}`}, "spec.schedules[0].cron",
		},
		"a schedule's deadline": {
			"Job",
			[]string{`{run: {cmd: ls}, schedules: [{id: a, cron: "* * * * *", startingDeadlineSeconds: 60}]}`},
			[]string{`{run: {cmd: ls}, schedules: [{id: a, cron: "* * * * *", startingDeadlineSeconds: 59}]}`},
			"spec.schedules[0].startingDeadlineSeconds",
		},
		"a schedule's concurrency, in both spellings": {
			"Job",
			[]string{`{run: {cmd: ls}, schedules: [{id: a, cron: "* * * * *", concurrencyPolicy: FORBID}]}`, `{run: {cmd: ls}, schedules: [{id: a, cron: "* * * * *", concurrencyPolicy: Replace}]}`},
			[]string{`{run: {cmd: ls}, schedules: [{id: a, cron: "* * * * *", concurrencyPolicy: forbid}]}`},
			"spec.schedules[0].concurrencyPolicy",
		},
		"dependencies are different": {
			"Job", []string{`{run: {cmd: ls}, dependencies: [{id: a}, {id: b}]}`}, []string{`{run: {cmd: ls}, dependencies: [{id: a}, {id: a}]}`}, "spec.dependencies[1]",
		},
		"cpus": {"Job", []string{`{run: {cmd: ls, cpus: 0.01}}`, `{run: {cmd: ls, cpus: 2}}`}, []string{`{run: {cmd: ls, cpus: 0.009}}`, `{run: {cmd: ls, cpus: "1"}}`}, "spec.run.cpus"},
		"mem":  {"Job", []string{`{run: {cmd: ls, mem: 32}}`, `{run: {cmd: ls, mem: 32.5}}`}, []string{`{run: {cmd: ls, mem: 31}}`}, "spec.run.mem"},
		"disk": {"Job", []string{`{run: {cmd: ls, disk: 0}}`}, []string{`{run: {cmd: ls, disk: -1}}`}, "spec.run.disk"},
		"gpus": {"Job", []string{`{run: {cmd: ls, gpus: 0}}`}, []string{`{run: {cmd: ls, gpus: -1}}`, `{run: {cmd: ls, gpus: 0.5}}`}, "spec.run.gpus"},
		"cmd":  {"Job", []string{`{run: {cmd: "` + long(65536) + `"}}`}, []string{`{run: {cmd: ""}}`, `{run: {cmd: "` + long(65537) + `"}}`}, "spec.run.cmd"},
		"restart policy": {
			"Job", []string{`{run: {cmd: ls, restart: {policy: ON_FAILURE}}}`, `{run: {cmd: ls, restart: {policy: NEVER}}}`}, []string{`{run: {cmd: ls, restart: {policy: ALWAYS}}}`, `{run: {cmd: ls, restart: {}}}`}, "spec.run.restart.policy",
		},
		"launch delay":     {"Job", []string{`{run: {cmd: ls, maxLaunchDelay: 1}}`}, []string{`{run: {cmd: ls, maxLaunchDelay: 0}}`}, "spec.run.maxLaunchDelay"},
		"grace period":     {"Job", []string{`{run: {cmd: ls, taskKillGracePeriodSeconds: 0.5}}`}, []string{`{run: {cmd: ls, taskKillGracePeriodSeconds: -1}}`}, "spec.run.taskKillGracePeriodSeconds"},
		"network mode":     {"Job", []string{`{run: {cmd: ls, networks: [{mode: container/bridge}]}}`}, []string{`{run: {cmd: ls, networks: [{mode: bridge}]}}`}, "spec.run.networks[0].mode"},
		"operator":         {"Job", []string{`{run: {cmd: ls, placement: {constraints: [{attribute: a, operator: EQ, value: b}]}}}`}, []string{`{run: {cmd: ls, placement: {constraints: [{attribute: a, operator: GROUP_BY}]}}}`}, "spec.run.placement.constraints[0].operator"},
		"volume mode":      {"Job", []string{`{run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b, mode: RW}]}}`}, []string{`{run: {cmd: ls, volumes: [{containerPath: /a, hostPath: /b, mode: rw}]}}`}, "spec.run.volumes[0].mode"},
		"image kind":       {"Job", []string{`{run: {ucr: {image: {id: a, kind: appc}}}}`}, []string{`{run: {ucr: {image: {id: a, kind: oci}}}}`}, "spec.run.ucr.image.kind"},
		"image":            {"Job", []string{`{run: {docker: {image: a}}}`}, []string{`{run: {docker: {}}}`, `{run: {docker: {image: ""}}}`}, "spec.run.docker.image"},
		"artifacts":        {"Job", []string{`{run: {cmd: ls, artifacts: [{uri: a}]}}`}, []string{`{run: {cmd: ls, artifacts: [{extract: true}]}}`, `{run: {cmd: ls, artifacts: [{uri: ""}]}}`}, "spec.run.artifacts[0].uri"},
		"secrets":          {"Job", []string{`{run: {cmd: ls, secrets: {a: {source: b}}}}`}, []string{`{run: {cmd: ls, secrets: {a: {}}}}`}, "spec.run.secrets.a.source"},
		"a run has a job":  {"JobRun", []string{`{job: dev.a}`}, []string{`{}`, `{job: ""}`}, "spec.job"},
		"a run's trigger":  {"JobRun", []string{`{job: a, trigger: Schedule}`}, []string{`{job: a, trigger: Cron}`}, "spec.trigger"},
		"a run's deadline": {"JobRun", []string{`{job: a, startingDeadlineSeconds: 1}`}, []string{`{job: a, startingDeadlineSeconds: 0}`}, "spec.startingDeadlineSeconds"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, spec := range tc.accepted {
				if err := objects.Create(t.Context(), object(t, tc.kind, "schema", spec), client.DryRunAll); err != nil {
					t.Errorf("refused %.200s: %v", spec, err)
				}
			}
			for _, spec := range tc.refused {
				err := objects.Create(t.Context(), object(t, tc.kind, "schema", spec), client.DryRunAll)
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%.200s: got %v, want something about %s", spec, err, tc.want)
				}
			}
		})
	}
}

// TestSchema_isStrict makes sure that a misspelt field is not taken for an unset one.
func TestSchema_isStrict(t *testing.T) {
	objects := strict(t)
	for kind, spec := range map[string]string{
		"ACL":    `{resource: a, ressource: b}`,
		"Grant":  `{acl: a, subjects: [{kind: User, name: alice}], actions: [run], expires: "2026-01-01T00:00:00Z"}`,
		"Group":  `{members: [{kind: User, name: alice, apiGroup: x}]}`,
		"Job":    `{run: {cmd: ls, maxLaunchDelaySeconds: 3600}}`,
		"JobRun": `{job: a, jobs: b}`,
	} {
		err := objects.Create(t.Context(), object(t, kind, "strict", spec), client.DryRunAll)
		if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "unknown field") {
			t.Errorf("%s %s: got %v", kind, spec, err)
		}
	}
}

// TestNewObject_isNotReadyYet: kstatus takes an object for ready that has no status at all.
func TestNewObject_isNotReadyYet(t *testing.T) {
	objects := strict(t)
	for kind, tc := range map[string]struct{ spec, want string }{
		"ACL":    {`{resource: a}`, "map[grants:0 observedGeneration:-1 subjects:0]"},
		"Grant":  {`{acl: a, subjects: [{kind: User, name: alice}], actions: [run]}`, "map[observedGeneration:-1]"},
		"Group":  {`{members: []}`, "map[members:0 observedGeneration:-1]"},
		"Job":    {`{run: {cmd: ls}}`, "map[activeRuns:0 observedGeneration:-1]"},
		"JobRun": {`{job: a}`, "map[observedGeneration:-1]"},
	} {
		obj := object(t, kind, "new", tc.spec)
		obj.Object["status"] = map[string]any{"observedGeneration": int64(7)}
		if err := objects.Create(t.Context(), obj, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(obj.Object["status"]); got != tc.want {
			t.Errorf("%s: status of a new object is %s, want %s", kind, got, tc.want)
		}
	}
}

// TestSchema_isDescribed is for kubectl explain.
func TestSchema_isDescribed(t *testing.T) {
	for kind, crd := range crds(t) {
		fields := 0
		walk(crd, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			for name, property := range schema.Properties {
				fields++
				if path == "" && name == "metadata" {
					continue // the API server describes it
				}
				if strings.TrimSpace(property.Description) == "" {
					t.Errorf("%s: %s.%s has no description", kind, path, name)
				}
			}
		})
		if fields < 10 {
			t.Errorf("%s: only %d fields were visited", kind, fields)
		}
		for _, column := range crd.Spec.Versions[0].AdditionalPrinterColumns {
			if column.Description == "" && column.Name != "Age" {
				t.Errorf("%s: column %s has no description", kind, column.Name)
			}
		}
	}
}

// TestSchema_isBounded looks for texts, lists and maps of ours without an end: what a user writes ends up
// in memory and in messages.
func TestSchema_isBounded(t *testing.T) {
	for kind, crd := range crds(t) {
		walk(crd, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			switch {
			case !strings.HasPrefix(path, "spec."):
			case schema.Type == "string" && schema.MaxLength == nil && len(schema.Enum) == 0 && schema.Format == "":
				// The values of maps of texts are bounded by the size of the object alone.
				if !strings.HasSuffix(path, "{}") {
					t.Errorf("%s: %s has no maxLength", kind, path)
				}
			case schema.Type == "array" && schema.MaxItems == nil:
				t.Errorf("%s: %s has no maxItems", kind, path)
			case schema.AdditionalProperties != nil && schema.MaxProperties == nil:
				t.Errorf("%s: %s has no maxProperties", kind, path)
			}
		})
	}
}

// TestCRDs_canBeApplied applies them as kubectl apply --server-side does. Without it, kubectl puts a copy
// into an annotation, for which the Job's CRD is too large.
func TestCRDs_canBeApplied(t *testing.T) {
	objects := server.Strict(t)
	const largest = 1 << 20 // of 1.5 MiB, which etcd takes
	for kind, crd := range crds(t) {
		u := unstructuredOf(t, crd)
		delete(u.Object, "status")
		data, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > largest {
			t.Errorf("%s: %d bytes", kind, len(data))
		}
		if err := objects.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func long(n int) string { return strings.Repeat("a", n) }

func subjects(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("{kind: User, name: user-%d}", i)
	}
	return strings.Join(out, ", ")
}
