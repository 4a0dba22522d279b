// Package chart holds the Helm chart against config/default, against its own documentation, and against an API server.
package chart

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	return byName(t, []byte(out))
}

// kustomize is what a kustomization installs.
func kustomize(t *testing.T, dir string) map[string]*unstructured.Unstructured {
	t.Helper()
	return byName(t, grantrytesting.Kustomize(t, dir))
}

// byName reads objects, by kind, namespace and name.
func byName(t *testing.T, manifests []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, object := range grantrytesting.Decode(t, manifests) {
		if strings.HasPrefix(object.GetKind(), "ValidatingAdmissionPolicy") {
			object.SetNamespace("") // a kubectl that does not know them gives them one
		}
		key := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		if found[key] != nil {
			t.Fatalf("%s is there twice", key)
		}
		found[key] = object
	}
	return found
}
