package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/test/harness"
)

const keepAnnotation = "helm.sh/resource-policy"

// TestDefaults_areConfigDefault: with the values as they are, Helm and Kustomize install the same objects, in whatever
// namespace. What differs is said here: Kustomize makes the namespace, and Helm is to keep the CRDs.
func TestDefaults_areConfigDefault(t *testing.T) {
	for _, namespace := range []string{space, "team"} {
		t.Run(namespace, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(config)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "default", "kustomization.yaml")
			settings, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(settings, "namespace: "+namespace+"\n"...), 0o600); err != nil {
				t.Fatal(err)
			}
			want, got := kustomize(t, filepath.Join(dir, "default")), render(t, namespace)
			delete(want, "Namespace /"+namespace)
			for _, object := range got {
				annotations := object.GetAnnotations()
				delete(annotations, keepAnnotation)
				object.SetAnnotations(annotations)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("config/default has (-), the chart has (+):\n%s", diff)
			}
			for key, object := range want {
				if other := got[key]; other != nil {
					if diff := cmp.Diff(object.Object, other.Object); diff != "" {
						t.Errorf("%s: config/default has (-), the chart has (+):\n%s", key, diff)
					}
				}
			}
		})
	}
}

func TestCRDs(t *testing.T) {
	crds := func(args ...string) (kept, all int) {
		for _, object := range render(t, space, args...) {
			if object.GetKind() == "CustomResourceDefinition" {
				all++
				if object.GetAnnotations()[keepAnnotation] == "keep" {
					kept++
				}
			}
		}
		return kept, all
	}
	for name, tc := range map[string]struct {
		args      []string
		kept, all int
	}{
		"kept unless asked": {nil, 5, 5},
		"asked":             {[]string{"--set", "crds.keep=false"}, 0, 5},
		"elsewhere":         {[]string{"--set", "crds.enabled=false"}, 0, 0},
	} {
		if kept, all := crds(tc.args...); kept != tc.kept || all != tc.all {
			t.Errorf("%s: %d of %d CRDs are kept; want %d of %d", name, kept, all, tc.kept, tc.all)
		}
	}
}

// TestParent: a chart that depends on this one on a condition, and sets values of it, installs it or leaves it out.
func TestParent(t *testing.T) {
	parent := t.TempDir()
	if err := os.CopyFS(filepath.Join(parent, "charts", "grantry"), os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n- {name: grantry, version: '*', condition: grantry.enabled}\n",
		"values.yaml": "global: {region: eu}\ngrantry: {replicas: 3}\n",
	} {
		if err := os.WriteFile(filepath.Join(parent, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for enabled, want := range map[string]bool{"true": true, "false": false} {
		out, err := harness.Helm(t.Context(), "template", "platform", parent, "--namespace", space, "--set", "grantry.enabled="+enabled)
		if err != nil {
			t.Fatalf("enabled=%s: %v", enabled, err)
		}
		deployment := byName(t, []byte(out))["Deployment "+space+"/grantry"]
		if (deployment != nil) != want {
			t.Errorf("enabled=%s: the Deployment is %v", enabled, deployment)
		}
		if want {
			if replicas, _, err := unstructured.NestedNumberAsFloat64(deployment.Object, "spec", "replicas"); err != nil || replicas != 3 {
				t.Errorf("%v replicas, %v", replicas, err)
			}
		}
	}
}

// features are values that turn something on, and the kinds and names that they add or take away.
var features = map[string]struct {
	args          []string
	added, absent []string
}{
	"as it is": {},
	"high availability": {
		args: []string{"--set", "replicas=3,priorityClassName=system-cluster-critical,podDisruptionBudget.maxUnavailable=50%,nodeSelector.disk=ssd"},
	},
	"a single replica": {args: []string{"--set", "replicas=1"}},
	"no budget":        {args: []string{"--set", "podDisruptionBudget.enabled=false"}, absent: []string{"PodDisruptionBudget grantry-system/grantry"}},
	"by digest":        {args: []string{"--set", "image.digest=sha256:" + strings.Repeat("0", 64)}},
	"more flags":       {args: []string{"--set", "extraArgs={--decision-log=denied,--zap-log-level=2},extraEnv[0].name=OTEL_EXPORTER_OTLP_ENDPOINT,extraEnv[0].value=http://collector:4317"}},
	"authorization": {
		args:  []string{"--set", "authorization.enabled=true,mode=strict,authorization.clusterIP=10.0.0.200"},
		added: []string{"Service grantry-system/grantry-authorization"},
	},
	"admission for the API server alone": {args: []string{"--set", "admission.callers.secret=callers"}},
	"no admission": {
		args: []string{"--set", "admission.enabled=false"},
		absent: []string{
			"MutatingWebhookConfiguration /grantry", "ValidatingWebhookConfiguration /grantry",
			"Service grantry-system/grantry-admission", "Secret grantry-system/grantry-admission",
		},
	},
	"no backstop": {
		args:   []string{"--set", "admissionPolicies.enabled=false"},
		absent: []string{"ValidatingAdmissionPolicy /grantry-pods", "ValidatingAdmissionPolicyBinding /grantry-pods"},
	},
	"cert-manager": {
		args: []string{"--set", "admission.certificates.source=cert-manager"},
		added: []string{
			"Issuer grantry-system/grantry-self-signed", "Certificate grantry-system/grantry-admission-ca",
			"Issuer grantry-system/grantry-admission", "Certificate grantry-system/grantry-admission",
		},
	},
	"cert-manager with an issuer that is there": {
		args:  []string{"--set", "admission.certificates.source=cert-manager,admission.certificates.issuer.kind=ClusterIssuer,admission.certificates.issuer.name=ours"},
		added: []string{"Certificate grantry-system/grantry-admission"},
	},
	"Prometheus": {
		args:  []string{"--set", "serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus"},
		added: []string{"ServiceMonitor grantry-system/grantry"},
	},
	"network policy": {args: []string{"--set", "networkPolicy.enabled=true"}, added: []string{"NetworkPolicy grantry-system/grantry"}},
	"narrow network policy": {
		args: []string{"--set", "networkPolicy.enabled=true,authorization.enabled=true,networkPolicy.apiServerCIDRs={10.0.0.1/32}," +
			"networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring," +
			"networkPolicy.extraEgress[0].ports[0].port=4317,networkPolicy.extraEgress[0].ports[0].protocol=TCP"},
		added: []string{"NetworkPolicy grantry-system/grantry", "Service grantry-system/grantry-authorization"},
	},
}

// TestFeatures: each feature adds what it says and no more, the API server takes all that it knows, strictly, and
// the pods are admitted to a namespace whose Pod Security is restricted.
func TestFeatures(t *testing.T) {
	c := server.Client(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	plain := slices.Sorted(maps.Keys(render(t, space)))
	for name, tc := range features {
		t.Run(name, func(t *testing.T) {
			objects := render(t, space, tc.args...)
			var absent []string
			for _, key := range plain {
				if objects[key] == nil {
					absent = append(absent, key)
				}
			}
			for _, key := range tc.absent {
				if !slices.Contains(absent, key) {
					t.Errorf("%s is there", key)
				}
			}
			if tc.absent == nil && absent != nil {
				t.Errorf("missing: %s", absent)
			}
			added := slices.DeleteFunc(slices.Sorted(maps.Keys(objects)), func(key string) bool { return slices.Contains(plain, key) })
			if diff := cmp.Diff(slices.Sorted(slices.Values(tc.added)), added, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("added: want (-), got (+):\n%s", diff)
			}
			for key, object := range objects {
				if err := accept(t, c, object); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
}

// accept asks the API server whether it would take an object. Of kinds that only others define it can't be asked.
func accept(t *testing.T, c client.Client, object *unstructured.Unstructured) error {
	t.Helper()
	switch object.GetKind() {
	case "CustomResourceDefinition", "ServiceMonitor", "Issuer", "Certificate":
		return nil
	case "Deployment":
		template, _, err := unstructured.NestedMap(object.Object, "spec", "template")
		if err != nil {
			return err
		}
		pod := &unstructured.Unstructured{Object: template}
		pod.SetAPIVersion("v1")
		pod.SetKind("Pod")
		pod.SetName("grantry")
		pod.SetNamespace(space)
		// Not of the chart: another admission plugin wants the class, and an account.
		unstructured.RemoveNestedField(pod.Object, "spec", "priorityClassName")
		if err := c.Create(t.Context(), pod, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			return err
		}
	}
	return c.Create(t.Context(), object.DeepCopy(), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// TestNotes: with the authorization webhook, the notes of a release hold the API server's files, as they are shipped.
func TestNotes(t *testing.T) {
	for _, tc := range []struct{ mode, address, host string }{
		{"permissive", "10.96.0.200", "10.96.0.200"},
		{"strict", "fd00::2:200", "[fd00::2:200]"},
	} {
		mode := tc.mode
		out, err := harness.Helm(t.Context(), "install", "grantry", harness.ChartPath, "--dry-run=client", "--namespace", "team",
			"--set", "authorization.enabled=true,authorization.clusterIP="+tc.address+",mode="+mode)
		if err != nil {
			t.Fatal(err)
		}
		_, notes, found := strings.Cut(out, "NOTES:\n")
		if !found {
			t.Fatal("no notes")
		}
		_, files, _ := strings.Cut(notes, "--- /etc/kubernetes/grantry/authorization.yaml\n")
		configuration, kubeconfig, _ := strings.Cut(files, "--- /etc/kubernetes/grantry/kubeconfig.yaml\n")
		for file, tc := range map[string]struct {
			got     string
			replace []string
		}{
			mode + ".yaml":    {configuration, []string{"grantry-system", "team"}},
			"kubeconfig.yaml": {kubeconfig, []string{"127.0.0.1:9443", tc.host}},
		} {
			shipped, err := os.ReadFile(filepath.Join(config, "authorization", file))
			if err != nil {
				t.Fatal(err)
			}
			var want, got map[string]any
			if err := yaml.UnmarshalStrict([]byte(strings.NewReplacer(tc.replace...).Replace(string(shipped))), &want); err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict([]byte(tc.got), &got); err != nil {
				t.Fatalf("%s: %v:\n%s", file, err, tc.got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: shipped is (-), the notes have (+):\n%s", file, diff)
			}
		}
	}
}
