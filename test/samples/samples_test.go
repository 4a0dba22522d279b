// Package samples applies config/samples, hack/invalid-samples and config/default to a real API server,
// so that what people copy works and what they are warned of is refused.
package samples

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

const (
	samplesDir = "../../config/samples"
	invalidDir = "../../hack/invalid-samples"
	configDir  = "../../config"
)

var server *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &server)) }

func TestSamples_areAccepted(t *testing.T) {
	objects := server.Strict(t)
	var kinds []string
	for _, file := range listed(t, samplesDir) {
		for _, sample := range read(t, filepath.Join(samplesDir, file)) {
			kinds = append(kinds, sample.GetKind())
			if err := objects.Create(t.Context(), sample); err != nil {
				t.Errorf("%s: %s %s: %v", file, sample.GetKind(), sample.GetName(), err)
			}
		}
	}
	for _, kind := range []string{"ACL", "Grant", "Group", "Job", "JobRun"} {
		if !slices.Contains(kinds, kind) {
			t.Errorf("no sample of a %s", kind)
		}
	}
}

func TestSamples_areListed(t *testing.T) {
	want := yamlFiles(t, samplesDir)
	want = slices.DeleteFunc(want, func(file string) bool { return file == "kustomization.yaml" })
	got := listed(t, samplesDir)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/samples/kustomization.yaml lists other files than there are (-want +got):\n%s", diff)
	}
}

var wanted = regexp.MustCompile(`(?m)^# want: (.+)$`)

func TestInvalidSamples_areRefused(t *testing.T) {
	objects := server.Strict(t)
	for _, file := range yamlFiles(t, invalidDir) {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join(invalidDir, file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			messages := wanted.FindAllStringSubmatch(string(text), -1)
			if len(messages) == 0 {
				t.Fatal(`no comment "# want: MESSAGE"`)
			}
			invalid := read(t, path)
			if len(invalid) != 1 {
				t.Fatalf("%d objects, want one: the message is that of one", len(invalid))
			}
			// A dry run, so that what is accepted by mistake is in no other case's way.
			err = objects.Create(t.Context(), invalid[0], client.DryRunAll)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, message := range messages {
				if !strings.Contains(err.Error(), message[1]) {
					t.Errorf("refused with\n  %v\nwhich lacks\n  %s", err, message[1])
				}
			}
		})
	}
}

// TestInstall_isAccepted builds what a user would install, and applies it. CRDs are there already: they are skipped.
func TestInstall_isAccepted(t *testing.T) {
	objects := server.Strict(t)
	for _, name := range []string{"default", "control-plane"} {
		for _, object := range grantrytesting.Decode(t, grantrytesting.Kustomize(t, filepath.Join(configDir, name))) {
			if object.GetKind() == "CustomResourceDefinition" {
				continue
			}
			err := objects.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"), client.ForceOwnership)
			if err != nil {
				t.Errorf("%s: %s %s: %v", name, object.GetKind(), object.GetName(), err)
			}
		}
	}
}

// listed returns the files that a directory's kustomization names, in its order.
func listed(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		t.Fatal(err)
	}
	return kustomization.Resources
}

// yamlFiles returns the names of a directory's YAML files, sorted.
func yamlFiles(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("no YAML file in %s", dir)
	}
	names := make([]string, 0, len(paths))
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

func read(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return grantrytesting.Decode(t, text)
}
