package batchjob_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// TestChild_golden makes the child of each testdata/<case>/in.yaml, or is refused one in the words of refused.txt.
// There is a case for each row of the mapping; test/cel gives all of them to a real API server.
func TestChild_golden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d cases, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			in := input()
			in.Job = readJob(t, file)
			child, err := batchjob.Child(in)
			errs := batchjob.Validate(in.Job, in.Options)
			refused := filepath.Join(filepath.Dir(file), "refused.txt")
			if _, notThere := os.Stat(refused); notThere == nil {
				if err == nil || len(errs) == 0 {
					t.Fatalf("Child and Validate take what is to be refused: %v, %v", err, errs)
				}
				compare(t, refused, err.Error()+"\n")
				compare(t, refused, errs.ToAggregate().Error()+"\n")
				return
			}
			if err != nil || len(errs) > 0 {
				t.Fatalf("Child: %v; Validate: %v", err, errs)
			}
			got, err := yaml.Marshal(child)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join(filepath.Dir(file), "want.yaml"), string(got))
		})
	}
}

// compare holds a text to a golden file, or writes the file.
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update if it should:\n%s", file, diff)
	}
}

// input is a launch of an empty Job. Two of three nodes have a label disk.
func input() batchjob.Input {
	return batchjob.Input{
		Job: &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{
			Name: "dev.batch.job1", Namespace: "metronome", UID: "11111111-2222-3333-4444-555555555555",
		}},
		Run: &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{
			Name: "dev.batch.job1-1735689600", Namespace: "metronome", UID: "66666666-7777-8888-9999-000000000000",
		}},
		Owner: v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "alice"},
		Grant: "batch-team",
		ACL:   "dev-batch",
		NodeLabels: []map[string]string{
			{"kubernetes.io/hostname": "node-b", "disk": "ssd"},
			{"kubernetes.io/hostname": "node-a", "disk": "nvme"},
			{"kubernetes.io/hostname": "node-ab"},
		},
		Options: batchjob.Options{DefaultImage: "busybox:1", GPUResource: "nvidia.com/gpu"},
	}
}

func readJob(t *testing.T, file string) *v1alpha1.Job {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	job := &v1alpha1.Job{}
	if err := yaml.UnmarshalStrict(data, job); err != nil {
		t.Fatal(err)
	}
	return job
}

// withSpec is the input with a spec in YAML.
func withSpec(t *testing.T, spec string) batchjob.Input {
	t.Helper()
	in := input()
	if err := yaml.UnmarshalStrict([]byte(spec), &in.Job.Spec); err != nil {
		t.Fatalf("%v in %s", err, spec)
	}
	return in
}

func TestChild_waitsForANode(t *testing.T) {
	t.Parallel()
	spec := `run: {cmd: ls, placement: {constraints: [{attribute: disk, operator: LIKE, value: "ss"}, {attribute: hostname, operator: LIKE, value: "db-.*"}]}}`
	in := withSpec(t, spec)
	child, err := batchjob.Child(in)
	if child != nil || !errors.Is(err, batchjob.ErrNoNodeMatches) {
		t.Fatalf("got %v, %v", child, err)
	}
	const want = `no node matches: spec.run.placement.constraints[0]: no node has a label disk that is LIKE "ss"; ` +
		`spec.run.placement.constraints[1]: no node has a label kubernetes.io/hostname that is LIKE "db-.*"`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if errs := batchjob.Validate(in.Job, in.Options); len(errs) > 0 {
		t.Errorf("Validate speaks of nodes: %v", errs)
	}

	in.Job.Spec.Run.Cmd = ""
	if _, err := batchjob.Child(in); err == nil || errors.Is(err, batchjob.ErrNoNodeMatches) {
		t.Errorf("a definition that can never run waits for a node: %v", err)
	}
}
