package testing

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Decode reads the objects of a text in YAML or JSON. Documents of nothing but comments are none.
func Decode(tb testing.TB, text []byte) (objects []*unstructured.Unstructured) {
	tb.Helper()
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			tb.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// Shipped are the objects of files below config, by patterns such as "rbac/*.yaml", of which each must match a file. What
// only kustomize reads is none of them.
func Shipped(tb testing.TB, patterns ...string) (objects []*unstructured.Unstructured) {
	tb.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(moduleRoot(), "config", filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			tb.Fatalf("config/%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				tb.Fatal(err)
			}
			for _, object := range Decode(tb, text) {
				if object.GetKind() != "Kustomization" {
					objects = append(objects, object)
				}
			}
		}
	}
	return objects
}

// Kustomize is what kubectl makes of a directory, which is below config or a copy of that.
func Kustomize(tb testing.TB, dir string) []byte {
	tb.Helper()
	RequireAPIServer(tb) // kubectl is where the API server is
	readAll(tb, filepath.Join(moduleRoot(), "config"))
	kubectl := filepath.Join(os.Getenv(assetsVariable), "kubectl")
	var problems bytes.Buffer
	command := exec.CommandContext(tb.Context(), kubectl, "kustomize", dir) //nolint:gosec // the kubectl that the tests were given
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		tb.Fatalf("kubectl kustomize %s: %v: %s", dir, err, problems.String())
	}
	return out
}

// readAll reads what another process will read, so that Go's test cache knows of it.
func readAll(tb testing.TB, dir string) {
	tb.Helper()
	files := os.DirFS(dir)
	if err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = fs.ReadFile(files, path)
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
}
