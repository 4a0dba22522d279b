package cel

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestMetronomeFile takes the "run" of job files as it is, and gives it back as it was: from the API server,
// and after our own types have read and written it.
func TestMetronomeFile(t *testing.T) {
	objects := strict(t)
	for name, run := range map[string]string{
		"from the documentation": `{"cmd":"sleep 1000","cpus":0.01,"mem":32,"disk":0}`,
		"with everything": `{
			"cmd": "./tool $HOME", "cpus": 0.5, "mem": 256.5, "disk": 10, "gpus": 1, "user": "nobody",
			"env": {"PLAIN": "text", "NUMBER": "5", "EMPTY": "", "PASSWORD": {"secret": "password"}},
			"secrets": {"password": {"source": "dev/password"}, "key": {"source": "key"}},
			"labels": {"team": "blue"},
			"artifacts": [{"uri": "https://files.example/tool", "executable": true, "extract": false, "cache": false}],
			"placement": {"constraints": [{"attribute": "hostname", "operator": "LIKE", "value": "node-.*"}, {"attribute": "rack", "operator": "EQ"}]},
			"maxLaunchDelay": 3600,
			"ucr": {"image": {"id": "registry.example/a:1", "kind": "docker", "forcePull": true}, "privileged": false},
			"networks": [{"mode": "container/bridge"}],
			"restart": {"policy": "ON_FAILURE", "activeDeadlineSeconds": 120},
			"taskKillGracePeriodSeconds": 5,
			"volumes": [{"containerPath": "/mnt/a", "hostPath": "/srv/a", "mode": "RO"}, {"containerPath": "key", "secret": "key"}]
		}`,
		"with Docker": `{
			"args": ["a", "b"], "cpus": 1, "mem": 128, "disk": 0,
			"docker": {"image": "a:1", "forcePullImage": false, "privileged": false, "parameters": [{"key": "a", "value": "b"}]}
		}`,
		"with an environment that the controller refuses": `{"cmd": "env", "env": {"NUMBER": 5, "LIST": ["a"], "OBJECT": {"a": {"b": "c"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var want any
			if err := json.Unmarshal([]byte(run), &want); err != nil {
				t.Fatal(err)
			}
			job := object(t, "Job", "dev.round-trip", fmt.Sprintf(`{"run": %s}`, run))
			if err := objects.Create(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := objects.Delete(t.Context(), job); err != nil {
					t.Error(err)
				}
			}()
			if diff := cmp.Diff(want, runOf(t, job)); diff != "" {
				t.Errorf("after the API server (-want +got):\n%s", diff)
			}

			typed := &v1alpha1.Job{}
			if err := objects.Get(t.Context(), client.ObjectKeyFromObject(job), typed); err != nil {
				t.Fatal(err)
			}
			typed.Spec.Description = "written by a program"
			if err := objects.Update(t.Context(), typed); err != nil {
				t.Fatal(err)
			}
			if err := objects.Get(t.Context(), client.ObjectKeyFromObject(job), job); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, runOf(t, job)); diff != "" {
				t.Errorf("after our types (-want +got):\n%s", diff)
			}
		})
	}
}

// runOf is spec.run as JSON knows it.
func runOf(t *testing.T, job *unstructured.Unstructured) (run any) {
	t.Helper()
	given, _, err := unstructured.NestedFieldNoCopy(job.Object, "spec", "run")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &run); err != nil {
		t.Fatal(err)
	}
	return run
}

// TestGoldenFiles gives the golden files of internal/batchjob to the API server: what goes in must be a Job
// of ours, and what comes out a batch/v1 Job, with nothing that the API server does not know.
func TestGoldenFiles(t *testing.T) {
	objects := strict(t)
	dirs, err := filepath.Glob(filepath.Join("..", "..", "internal", "batchjob", "testdata", "*"))
	if err != nil || len(dirs) < 30 {
		t.Fatalf("found %d cases, error %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(dir, "*.yaml")) // one that is refused has no child
			if err != nil || len(files) == 0 {
				t.Fatalf("found %v, error %v", files, err)
			}
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				u := &unstructured.Unstructured{}
				if err := yaml.Unmarshal(data, &u.Object); err != nil {
					t.Fatal(err)
				}
				u.SetUID("")
				if err := objects.Create(t.Context(), u, client.DryRunAll); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		})
	}
}

func unstructuredOf(t *testing.T, obj any) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}
