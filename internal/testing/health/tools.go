package health

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// Tools are GitOps tools as this repository sets them up.
type Tools struct {
	argoCD map[string]string // the keys of its ConfigMap
	flux   []Expressions     // of the example's Kustomizations
}

// Load reads config/argocd and the example of docs/gitops.md.
func Load(tb testing.TB) *Tools {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	return &Tools{argoCD: readArgoCD(tb, filepath.Join(root, "config", "argocd")), flux: readFlux(tb, filepath.Join(root, "docs", "gitops", "example", "clusters"))}
}

// ArgoCD is what Argo CD shows of an object of ours, and its message. It does not ask about what is being deleted.
func (t *Tools) ArgoCD(tb testing.TB, obj *unstructured.Unstructured) (health, message string) {
	tb.Helper()
	key := "resource.customizations.health." + obj.GroupVersionKind().Group + "_" + obj.GetKind()
	script := t.argoCD[key]
	if script == "" {
		tb.Fatalf("config/argocd has no %s", key)
	}
	return ArgoCD(tb, script, obj)
}

// Flux is what a Kustomization of the example computes of an object.
func (t *Tools) Flux(tb testing.TB, obj *unstructured.Unstructured) string {
	tb.Helper()
	return Flux(tb, t.flux, obj)
}

// readArgoCD is the ConfigMap that config/argocd makes.
func readArgoCD(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	var configMap corev1.ConfigMap
	if err := yaml.UnmarshalStrict(grantrytesting.Kustomize(tb, dir), &configMap); err != nil {
		tb.Fatal(err)
	}
	return configMap.Data
}

// readFlux gathers the expressions of all Kustomizations of a directory. Of one kind they are the same everywhere.
func readFlux(tb testing.TB, dir string) (entries []Expressions) {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	known := map[string]Expressions{}
	for _, file := range files {
		for _, e := range readExpressions(tb, file) {
			if other, found := known[e.Kind]; found && other != e {
				tb.Fatalf("%s has other expressions for %s than another file", file, e.Kind)
			}
			known[e.Kind] = e
		}
	}
	for _, e := range known {
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		tb.Fatalf("no Kustomization below %s has healthCheckExprs", dir)
	}
	return entries
}

func readExpressions(tb testing.TB, file string) (entries []Expressions) {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var kustomization struct {
			Spec struct {
				HealthCheckExprs []Expressions `json:"healthCheckExprs"`
			} `json:"spec"`
		}
		if err := decoder.Decode(&kustomization); errors.Is(err, io.EOF) {
			return entries
		} else if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		entries = append(entries, kustomization.Spec.HealthCheckExprs...)
	}
}
