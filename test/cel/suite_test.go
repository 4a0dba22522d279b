// Package cel tries the schema and the CEL rules of the CRDs on a real API server: what one object can
// decide is decided there, with a message that people read.
package cel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
)

// namespace is where the tests keep what has one; it is that of the golden files of internal/batchjob.
const namespace = "metronome"

// crdDir is where controller-gen writes the CRDs.
var crdDir = filepath.Join("..", "..", "config", "crd", "bases")

// objects is a client that refuses unknown fields, as kubectl does.
var objects client.Client

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const hint = "test/cel needs an API server: run `make test-cel`, which sets KUBEBUILDER_ASSETS"
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "FAIL: "+hint)
			return 1
		}
		fmt.Fprintln(os.Stderr, "SKIP: "+hint)
		return 0
	}
	environment := &envtest.Environment{CRDDirectoryPaths: []string{crdDir}, ErrorIfCRDPathMissing: true}
	config, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: start the API server with the CRDs:", err)
		return 1
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(apiextensionsv1.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	// The pace of the client is no part of the test.
	config.QPS, config.Burst = 1000, 1000
	plain, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: make a client:", err)
		return 1
	}
	objects = client.WithFieldValidation(plain, metav1.FieldValidationStrict)
	return m.Run()
}

// TestMain has no context of a test; the namespace is made by the first test that needs it.
func needNamespace(t *testing.T) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := client.IgnoreAlreadyExists(objects.Create(t.Context(), ns)); err != nil {
		t.Fatal(err)
	}
}

// object is an object of one of our kinds with a name and a spec in YAML.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(spec), &value); err != nil {
		t.Fatalf("%v in %s", err, spec)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": value}}
	u.SetAPIVersion(v1alpha1.GroupVersion.String())
	u.SetKind(kind)
	u.SetName(name)
	if kind == "Job" || kind == "JobRun" {
		u.SetNamespace(namespace)
	}
	return u
}

// crds are the CRDs as they are in the repository, by kind.
func crds(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(crdDir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[crd.Spec.Names.Kind] = crd
	}
	if len(out) != 5 {
		t.Fatalf("found %d CRDs in %s", len(out), crdDir)
	}
	return out
}

// walk visits each schema of our own types, with its path: spec.subjects[].name. The template of a Job is
// Kubernetes' own, and not visited.
func walk(crd *apiextensionsv1.CustomResourceDefinition, visit func(path string, schema *apiextensionsv1.JSONSchemaProps)) {
	var descend func(path string, schema *apiextensionsv1.JSONSchemaProps)
	descend = func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		if crd.Spec.Names.Kind == "Job" && strings.HasPrefix(path, "spec.template.") {
			return
		}
		visit(path, schema)
		for name, property := range schema.Properties {
			descend(strings.TrimPrefix(path+"."+name, "."), &property)
		}
		if schema.Items != nil {
			descend(path+"[]", schema.Items.Schema)
		}
		if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
			descend(path+"{}", schema.AdditionalProperties.Schema)
		}
	}
	descend("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
}
