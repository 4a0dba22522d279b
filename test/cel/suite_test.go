// Package cel tries the schema and the CEL rules of the CRDs on a real API server: what one object can
// decide is decided there, with a message that people read.
package cel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// namespace is where the tests keep what has one; it is that of the golden files of internal/batchjob.
const namespace = "metronome"

// crdDir is where controller-gen writes the CRDs.
var crdDir = filepath.Join("..", "..", "config", "crd", "bases")

var server *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &server)) }

// strict is a client that refuses unknown fields, as kubectl does, of an API server that has the namespace.
func strict(t *testing.T) client.Client {
	t.Helper()
	objects := server.Strict(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := client.IgnoreAlreadyExists(objects.Create(t.Context(), ns)); err != nil {
		t.Fatal(err)
	}
	return objects
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
