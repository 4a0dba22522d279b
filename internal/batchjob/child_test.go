package batchjob_test

import (
	"errors"
	"math"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

func TestChild_tellsTheOwner(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		owner v1alpha1.Subject
		want  string
	}{
		"a user":            {v1alpha1.Subject{Kind: "User", Name: "alice"}, "User alice"},
		"a group":           {v1alpha1.Subject{Kind: "Group", Name: "ops"}, "Group ops"},
		"a service account": {v1alpha1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "bot"}, "ServiceAccount ci/bot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := withSpec(t, `run: {cmd: ls}`)
			in.Owner = tc.owner
			child, err := batchjob.Child(in)
			if err != nil {
				t.Fatal(err)
			}
			if got := child.Annotations[v1alpha1.AnnotationOwner]; got != tc.want {
				t.Errorf("owner %q, want %q", got, tc.want)
			}
			if _, set := child.Spec.Template.Annotations[v1alpha1.AnnotationOwner]; set {
				t.Error("the pods tell the owner, who may change while they run")
			}
		})
	}
}

func TestChild_launchedWithoutAsking(t *testing.T) {
	t.Parallel()
	in := withSpec(t, `run: {cmd: ls}`)
	in.Owner, in.Grant, in.ACL = v1alpha1.Subject{}, "", ""
	child, err := batchjob.Child(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{v1alpha1.AnnotationJob: "dev.batch.job1", v1alpha1.AnnotationRun: "dev.batch.job1-1735689600"}
	if diff := cmp.Diff(want, child.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

func TestSecretsBelongToPaths(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		source, job string
		want        bool
	}{
		"a secret of the job's group":            {"group/secret", "group.hdfs.service", true},
		"a secret of another group":              {"group/secret", "other.service", false},
		"a secret of a sibling":                  {"group/hdfs/secret", "group.spark.service", false},
		"a secret of the job itself":             {"hdfs/secret", "hdfs", true},
		"a secret without a path":                {"secret", "any.job", true},
		"a secret below the job":                 {"hdfs/name/secret", "hdfs", false},
		"a path that is the beginning of a name": {"hdf/secret", "hdfs", false},
		"a leading slash":                        {"/hdfs/secret", "hdfs.a", true},
		"a dot that stands for a slash":          {"a/b.secret", "a.c", false},
		"no path, by dots":                       {"a.b.secret", "a.c", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := withSpec(t, `run: {cmd: ls, env: {A: {secret: s}}, secrets: {s: {source: "`+tc.source+`"}}}`)
			in.Job.Name = tc.job
			_, err := batchjob.Child(in)
			if (err == nil) != tc.want {
				t.Errorf("allowed %v, want %v (%v)", err == nil, tc.want, err)
			}
		})
	}
}

func TestNeedsNodeLabels(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]bool{
		`template: {spec: {template: {spec: {containers: [{name: a, image: b}]}}}}`: false,
		`run: {cmd: ls}`:                false,
		`run: {cmd: ls, placement: {}}`: false,
		`run: {cmd: ls, placement: {constraints: [{attribute: hostname, operator: IS, value: a}]}}`:     false,
		`run: {cmd: ls, placement: {constraints: [{attribute: hostname, operator: LIKE}]}}`:             false,
		`run: {cmd: ls, placement: {constraints: [{attribute: hostname, operator: LIKE, value: a}]}}`:   true,
		`run: {cmd: ls, placement: {constraints: [{attribute: hostname, operator: UNLIKE, value: a}]}}`: true,
	} {
		if got := batchjob.NeedsNodeLabels(withSpec(t, spec).Job); got != want {
			t.Errorf("%s: %v, want %v", spec, got, want)
		}
	}
}

// TestChild_sharesNothing changes what was made, and expects that what it was made from is as before.
func TestChild_sharesNothing(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{
		"template": `template: {metadata: {labels: {a: b}, annotations: {a: b}}, spec: {activeDeadlineSeconds: 5, template: {metadata: {labels: {a: b}, annotations: {a: b}}, spec: {nodeSelector: {a: b}, containers: [{name: a, image: b, args: [c]}]}}}}`,
		"run":      `run: {args: [c], docker: {image: a, privileged: true}, labels: {a: b, c: "d e"}, restart: {policy: ON_FAILURE, activeDeadlineSeconds: 5}, placement: {constraints: [{attribute: hostname, operator: LIKE, value: "node-.*"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := withSpec(t, spec)
			job, nodes := in.Job.DeepCopy(), input().NodeLabels
			child, err := batchjob.Child(in)
			if err != nil {
				t.Fatal(err)
			}
			want := child.DeepCopy()
			spoil(child)
			if diff := cmp.Diff(job, in.Job); diff != "" {
				t.Errorf("the Job changed with its child (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(nodes, in.NodeLabels); diff != "" {
				t.Errorf("the nodes changed with the child (-want +got):\n%s", diff)
			}
			again, err := batchjob.Child(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, again); diff != "" {
				t.Errorf("the second child differs (-want +got):\n%s", diff)
			}
			again.Labels["spoilt"] = "by the Job"
			if _, set := again.Spec.Template.Labels["spoilt"]; set {
				t.Error("the child and its pods share their labels")
			}
		})
	}
}

// spoil changes everything that a child could share with what it was made from.
func spoil(child *batchv1.Job) {
	for _, m := range []map[string]string{
		child.Labels, child.Annotations, child.Spec.Template.Labels, child.Spec.Template.Annotations, child.Spec.Template.Spec.NodeSelector,
	} {
		for key := range m {
			m[key] = "spoilt"
		}
		if m != nil {
			m["spoilt"] = "spoilt"
		}
	}
	if child.Spec.ActiveDeadlineSeconds != nil {
		*child.Spec.ActiveDeadlineSeconds = 99
	}
	work := &child.Spec.Template.Spec.Containers[0]
	work.Image = "spoilt"
	for i := range work.Args {
		work.Args[i] = "spoilt"
	}
	if work.SecurityContext != nil {
		*work.SecurityContext.Privileged = false
	}
	if affinity := child.Spec.Template.Spec.Affinity; affinity != nil {
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "spoilt"
	}
}

// TestChild_properties draws definitions that the schema lets through.
func TestChild_properties(t *testing.T) {
	t.Parallel()
	made := 0
	rapid.Check(t, func(t *rapid.T) {
		in := input()
		in.Job.Name = jobName().Draw(t, "job")
		in.Run.Name = in.Job.Name
		in.Job.Spec.Run = runSpec().Draw(t, "run")
		before := in.Job.DeepCopy()

		child, err := batchjob.Child(in)
		again, errAgain := batchjob.Child(in)
		if diff := cmp.Diff(child, again); diff != "" || text(err) != text(errAgain) {
			t.Fatalf("twice is not the same: %v, %v\n%s", err, errAgain, diff)
		}
		if diff := cmp.Diff(before, in.Job); diff != "" {
			t.Fatalf("the Job changed:\n%s", diff)
		}
		refused := len(batchjob.Validate(in.Job, in.Options)) > 0
		if refused != (err != nil && !errors.Is(err, batchjob.ErrNoNodeMatches)) {
			t.Fatalf("Validate refuses: %v, Child says %v", refused, err)
		}
		if err != nil {
			return
		}
		made++
		checkChild(t, in, child)
	})
	if made == 0 {
		t.Error("no definition was accepted: the test has no effect")
	}
}

// checkChild checks what an API server would refuse, and what each child must have.
func checkChild(t *rapid.T, in batchjob.Input, child *batchv1.Job) {
	metadata := field.NewPath("metadata")
	pod := child.Spec.Template
	errs := apivalidation.ValidateObjectMeta(&child.ObjectMeta, true, apivalidation.NameIsDNSLabel, metadata)
	errs = append(errs, metav1validation.ValidateLabels(pod.Labels, metadata)...)
	errs = append(errs, apivalidation.ValidateAnnotations(pod.Annotations, metadata)...)
	if len(errs) > 0 {
		t.Errorf("metadata: %v", errs)
	}
	for key := range batchjob.RunLabels(in.Job) {
		if child.Labels[key] != pod.Labels[key] || key == v1alpha1.LabelJob && child.Labels[key] != string(in.Job.UID) {
			t.Errorf("label %s: %q, pods %q", key, child.Labels[key], pod.Labels[key])
		}
	}
	if *child.OwnerReferences[0].Controller != true || child.OwnerReferences[0].UID != in.Run.UID {
		t.Errorf("owner %v", child.OwnerReferences)
	}
	work := pod.Spec.Containers[0]
	for _, variable := range work.Env {
		if problems := validation.IsEnvVarName(variable.Name); len(problems) > 0 {
			t.Errorf("variable %q: %v", variable.Name, problems)
		}
	}
	volumes := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		if problems := validation.IsDNS1123Label(volume.Name); len(problems) > 0 || volumes[volume.Name] {
			t.Errorf("volume %q: %v", volume.Name, problems)
		}
		volumes[volume.Name] = true
	}
	paths := map[string]bool{}
	for _, mount := range work.VolumeMounts {
		if !volumes[mount.Name] || paths[mount.MountPath] || !path.IsAbs(mount.MountPath) || path.Clean(mount.MountPath) != mount.MountPath {
			t.Errorf("mount %v", mount)
		}
		paths[mount.MountPath] = true
	}
	for name, request := range work.Resources.Requests {
		if limit, set := work.Resources.Limits[name]; set && limit.Cmp(request) != 0 {
			t.Errorf("%s: %s, limit %s", name, request.String(), limit.String())
		}
	}
	cpus := work.Resources.Requests[corev1.ResourceCPU]
	if asked := *in.Job.Spec.Run.CPUs; cpus.AsApproximateFloat64() < asked-1e-9 || cpus.AsApproximateFloat64() > asked+0.001+1e-9 {
		t.Errorf("%v cpus are %s", asked, cpus.String())
	}
	if in.Job.Spec.Run.Cmd != "" && expand(work.Command[2]) != in.Job.Spec.Run.Cmd {
		t.Errorf("%q would run as %q", in.Job.Spec.Run.Cmd, expand(work.Command[2]))
	}
	for _, variable := range work.Env {
		if given := in.Job.Spec.Run.Env[variable.Name].Value; variable.ValueFrom == nil && variable.Name != "MESOS_SANDBOX" && expand(variable.Value) != given {
			t.Errorf("%q would be set to %q", given, expand(variable.Value))
		}
	}
}

// expand reads a text as Kubernetes reads a command, with every name defined: $$ is $, and $(NAME) is replaced.
func expand(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '$' || i+1 == len(s):
			out.WriteByte(s[i])
		case s[i+1] == '$':
			out.WriteByte('$')
			i++
		case s[i+1] == '(' && strings.Contains(s[i:], ")"):
			out.WriteString("REPLACED")
			i += strings.Index(s[i:], ")")
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// runSpec draws what the schema of the CRD lets through, most of it acceptable.
func runSpec() *rapid.Generator[*v1alpha1.RunSpec] {
	word := rapid.StringMatching(`[a-z]{1,3}`)
	shell := rapid.StringMatching(`[ $(){}a-z"']{1,12}`)
	return rapid.Custom(func(t *rapid.T) *v1alpha1.RunSpec {
		spec := &v1alpha1.RunSpec{
			Cmd:  shell.Draw(t, "cmd"),
			CPUs: new(math.Round(rapid.Float64Range(0.01, 64).Draw(t, "cpus")*1e5) / 1e5),
			Mem:  new(rapid.Float64Range(32, 1e9).Draw(t, "mem")),
			Disk: new(rapid.Float64Range(0, 1e9).Draw(t, "disk")),
			User: rapid.SampledFrom([]string{"", "root", "nobody", "7", "7:8", "root:9", "who"}).Draw(t, "user"),
			Env:  map[string]v1alpha1.EnvValue{},
			Labels: rapid.MapOfN(rapid.SampledFrom([]string{"a", "b.c/d", "E_f", "no/no/no"}),
				rapid.SampledFrom([]string{"", "v", "not a label", long("v", 64)}), 0, 3).Draw(t, "labels"),
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "b.c", "_", "9"}), 0, 3, rapid.ID).Draw(t, "env") {
			spec.Env[name] = v1alpha1.EnvValue{Value: shell.Draw(t, "value")}
		}
		if rapid.Bool().Draw(t, "secret") {
			spec.Env["SECRET"] = v1alpha1.EnvValue{Secret: "s"}
			spec.Secrets = map[string]v1alpha1.SecretSource{"s": {Source: word.Draw(t, "source")}}
		}
		for range rapid.IntRange(0, 2).Draw(t, "volumes") {
			spec.Volumes = append(spec.Volumes, v1alpha1.Volume{
				ContainerPath: rapid.SampledFrom([]string{"/a", "/a/", "b", "./b/c", "/mnt/mesos/sandbox", "/x//y"}).Draw(t, "containerPath"),
				HostPath:      "/" + word.Draw(t, "hostPath"), Mode: rapid.SampledFrom([]string{"RO", "RW"}).Draw(t, "mode"),
			})
		}
		for range rapid.IntRange(0, 2).Draw(t, "artifacts") {
			spec.Artifacts = append(spec.Artifacts, v1alpha1.Artifact{URI: "http://" + word.Draw(t, "host") + "/" + word.Draw(t, "file")})
		}
		if rapid.Bool().Draw(t, "placement") {
			spec.Placement = &v1alpha1.Placement{Constraints: []v1alpha1.Constraint{{
				Attribute: rapid.SampledFrom([]string{"hostname", "disk", "@zone", "@nothing"}).Draw(t, "attribute"),
				Operator:  rapid.SampledFrom([]string{"IS", "EQ", "LIKE", "UNLIKE"}).Draw(t, "operator"),
				Value:     rapid.SampledFrom([]string{"", "a", "node-.*", ".*", "("}).Draw(t, "value"),
			}}}
		}
		return spec
	})
}
