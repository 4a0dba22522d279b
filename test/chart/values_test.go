package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/test/harness"
)

// schema is what the test reads of a JSON schema.
type schema struct {
	Description          string
	Type                 string
	Properties           map[string]schema
	AdditionalProperties any
}

// TestValues_areDescribed: values.yaml, its schema and the table in README.md have the same values, the table has the
// defaults that are true, and the schema describes each.
func TestValues_areDescribed(t *testing.T) {
	var values map[string]any
	readYAML(t, "values.yaml", &values)
	var described schema
	readYAML(t, "values.schema.json", &described)
	text, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-zA-Z.]+)` \\| (?:`(.*?)`|see `values.yaml`) \\|").FindAllStringSubmatch(string(text), -1) {
		told[row[1]] = row[2]
	}
	inSchema := leaves(t, "", described)
	delete(inSchema, "global") // these two are a parent chart's
	delete(inSchema, "enabled")
	want := map[string]string{}
	for path := range inSchema {
		value := at(values, path)
		if value == nil && !strings.HasPrefix(path, "admission.certificates.issuer.") {
			t.Errorf("%s is in the schema, and not in values.yaml", path)
			continue
		}
		if value == nil {
			value = ""
		}
		want[path] = spell(t, value)
		if told[path] == "" && (path == "topologySpreadConstraints" || path == "resources") {
			want[path] = "" // too long for a table
		}
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("values.yaml and its schema have (-), README.md has (+):\n%s", diff)
	}
	for path := range valueLeaves("", values) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(inSchema)), func(known string) bool {
			return path == known || strings.HasPrefix(path, known+".") || strings.HasPrefix(known, path+".")
		}) {
			t.Errorf("%s is in values.yaml, and not in the schema", path)
		}
	}
}

// leaves are the values of a schema that hold no other value of its own, by path. It wants objects closed and everything
// described.
func leaves(t *testing.T, path string, s schema) map[string]string {
	t.Helper()
	if path != "" && s.Description == "" {
		t.Errorf("the schema does not describe %s", path)
	}
	if len(s.Properties) == 0 {
		return map[string]string{path: s.Description}
	}
	if s.AdditionalProperties != false {
		t.Errorf("the schema lets anything into %q", path)
	}
	found := map[string]string{}
	for name, property := range s.Properties {
		maps.Copy(found, leaves(t, strings.TrimPrefix(path+"."+name, "."), property))
	}
	return found
}

func valueLeaves(path string, value any) map[string]bool {
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 {
		return map[string]bool{path: true}
	}
	found := map[string]bool{}
	for name, property := range object {
		maps.Copy(found, valueLeaves(strings.TrimPrefix(path+"."+name, "."), property))
	}
	return found
}

func at(values any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := values.(map[string]any)
		if !ok {
			return nil
		}
		values = object[name]
	}
	return values
}

func spell(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chart, file))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestSchema_refuses: a mistake in a value is told before anything is installed, with the value's path.
func TestSchema_refuses(t *testing.T) {
	for _, tc := range []struct{ set, at string }{
		{"mode=lenient", "/mode"},
		{"replicas=0", "/replicas"},
		{"replicas=two", "/replicas"},
		{"replicaCount=3", "replicaCount"},
		{"image.repository=registry.example.com/grantry:1", "/image/repository"},
		{"image.repository=https://registry.example.com/grantry", "/image/repository"},
		{"image.tag=a b", "/image/tag"},
		{"image.tag=1", "/image/tag"}, // Helm makes a number of it
		{"image.digest=latest", "/image/digest"},
		{"image.pullPolicy=Sometimes", "/image/pullPolicy"},
		{"podDisruptionBudget.maxUnavailable=0", "/podDisruptionBudget/maxUnavailable"},
		{"podDisruptionBudget.maxUnavailable=2", "/podDisruptionBudget/maxUnavailable"}, // of two
		{"podDisruptionBudget.maxUnavailable=half", "/podDisruptionBudget/maxUnavailable"},
		{"podDisruptionBudget.maxUnavailable=51%", "/podDisruptionBudget/maxUnavailable"}, // rounded up
		{"crds.keep=yes please", "/crds/keep"},
		{"admission.certificates.source=vault", "/admission/certificates/source"},
		{"admission.certificates.issuer.name=ours", "/admission/certificates/issuer"},
		{"admission.callers.clientNames=", "/admission/callers/clientNames"},
		{"authorization.clusterIP=somewhere", "/authorization/clusterIP"},
		{"authorization.clientNames=", "/authorization/clientNames"},
		{"authorization.clientNames[0]=a\\,b", "/authorization/clientNames"},
		{"networkPolicy.apiServerCIDRs={10.0.0.1}", "/networkPolicy/apiServerCIDRs"},
		{"networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts"},
		{"serviceMonitor.interval=often", "/serviceMonitor/interval"},
		{"extraArgs=--decision-log=all", "/extraArgs"},
		{"extraArgs={--decision-log=all,--mode=strict}", "/extraArgs/1"}, // the notes would say another
		{"extraArgs={--leader-elect=false}", "/extraArgs/0"},
		{"extraArgs={--admission-secret=another}", "/extraArgs/0"}, // the role is for one
	} {
		_, err := harness.Helm(t.Context(), "template", "grantry", harness.ChartPath, "--set", tc.set)
		if err == nil || !strings.Contains(err.Error(), tc.at) {
			t.Errorf("%s: %s", tc.set, fmt.Sprint(err))
		}
	}
}
