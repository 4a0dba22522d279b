// Package chart holds the Helm chart against config/default, against its own documentation, and against an API server.
package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

const space = "grantry-system"

var (
	config = filepath.Join("..", "..", "config")
	chart  = filepath.Join("..", "..", harness.ChartPath)
	server *grantrytesting.APIServer
)

func TestMain(m *testing.M) {
	// Helm and kubectl read the files, and so does this test: then Go's test cache knows of them.
	for _, dir := range []string{config, chart} {
		if err := readAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(grantrytesting.Main(m, &server))
}

func readAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = os.ReadFile(path)
		}
		return err
	})
}

// render is what the chart installs in a namespace.
func render(t *testing.T, namespace string, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	out, err := harness.Helm(t.Context(), append([]string{"template", "grantry", harness.ChartPath, "--namespace", namespace}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

// kustomize is what a kustomization installs.
func kustomize(t *testing.T, dir string) map[string]*unstructured.Unstructured {
	t.Helper()
	server.Require(t) // kubectl is where the API server is
	command := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "kustomize", dir)
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v: %s", dir, err, &problems)
	}
	return decode(t, string(out))
}

// decode reads objects, by kind, namespace and name.
func decode(t *testing.T, manifests string) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue // nothing but comments
		}
		if strings.HasPrefix(object.GetKind(), "ValidatingAdmissionPolicy") {
			object.SetNamespace("") // a kubectl that does not know them gives them one
		}
		key := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		if found[key] != nil {
			t.Fatalf("%s is there twice", key)
		}
		found[key] = object
	}
}
