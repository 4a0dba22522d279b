package binaries

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestSource_pinsEverySet(t *testing.T) {
	root, err := Source()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GRANTRY_KUBERNETES", oldest)
	old, err := chosenKubernetes()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, set := range []set{kubernetes, old, containerd, kwok} {
		version, err := set.version(root + "/" + set.module)
		if err != nil {
			t.Error(err)
			continue
		}
		fingerprint, err := set.fingerprint(root+"/"+set.module, version)
		if err != nil || len(fingerprint) != 10 || seen[fingerprint] {
			t.Errorf("fingerprint of %s %s: %q, %v; seen before: %t", set.title, version, fingerprint, err, seen[fingerprint])
		}
		seen[fingerprint] = true
	}
}

func TestChosenKubernetes(t *testing.T) {
	for name, want := range map[string]string{"": "go.mod", oldest: "oldest.mod"} {
		t.Setenv("GRANTRY_KUBERNETES", name)
		if got, err := chosenKubernetes(); err != nil || got.modfile != want {
			t.Errorf("GRANTRY_KUBERNETES=%q: %s, %v, want %s", name, got.modfile, err, want)
		}
	}
	t.Setenv("GRANTRY_KUBERNETES", "v1.34.0")
	if got, err := chosenKubernetes(); err == nil {
		t.Errorf("a version for a name: no error, and %s", got.modfile)
	}
}

// Helm refuses what is older than the oldest that is tested, and nothing else.
func TestOldest_isWhatTheChartAsksFor(t *testing.T) {
	root, err := Source()
	if err != nil {
		t.Fatal(err)
	}
	set := kubernetes
	set.modfile = oldest + ".mod"
	version, err := set.version(filepath.Join(root, set.module))
	if err != nil {
		t.Fatal(err)
	}
	chart, err := os.ReadFile(filepath.Join(root, "../../charts/grantry/Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^kubeVersion: ">=` + regexp.QuoteMeta(version[1:]) + `-0"$`)
	if !want.Match(chart) {
		t.Errorf("the oldest Kubernetes is %s, and charts/grantry/Chart.yaml does not ask for it:\n%s", version, chart)
	}
}
