package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const grantCRD = "config/crd/bases/grantry.dev_grants.yaml"

// released is a repository whose last commit, v0.1.0, has Grantry's own CRD of Grants; crd is its text.
func released(t *testing.T) (root, crd string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", grantCRD))
	if err != nil {
		t.Fatal(err)
	}
	root = tree(t, map[string]string{grantCRD: string(text), compatFile: "lastRelease: \"\"\n"})
	commit(t, root, "v0.1.0")
	return root, string(text)
}

func commit(t *testing.T, root, tag string) {
	t.Helper()
	gitIn(t, root, "add", ".")
	gitIn(t, root, "commit", "--quiet", "--allow-empty", "-m", "a commit")
	if tag != "" {
		gitIn(t, root, "tag", tag)
	}
}

func write(t *testing.T, root, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCRDCompat_findsWhatTheCRDNoLongerTakes(t *testing.T) {
	root, crd := released(t)
	write(t, root, compatFile, "lastRelease: v0.1.0\n")
	for name, tc := range map[string]struct{ old, replacement, want string }{
		"nothing changed":      {},
		"a removed field":      {"              notBefore:\n", "              startsAt:\n", "Grant.spec.notBefore: removed"},
		"a narrowed limit":     {"maxItems: 1000\n", "maxItems: 100\n", "Grant.spec.subjects: maxItems was 1000 and is 100"},
		"a new required field": {"            - subjects\n            type", "            - subjects\n            - notBefore\n            type", "Grant.spec.notBefore: newly required"},
		"a removed enum value": {"                      - Group\n", "", `Grant.spec.subjects[].kind: no longer takes "Group"`},
		"another scope":        {"scope: Cluster", "scope: Namespaced", "grants.grantry.dev: scope was Cluster and is Namespaced"},
		"another version":      {"name: v1alpha1\n", "name: v1beta1\n", "grants.grantry.dev: version v1alpha1, which objects are stored in, is gone"},
		"another name":         {"name: grants.grantry.dev", "name: gifts.grantry.dev", "grants.grantry.dev: was in v0.1.0 and is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			edited := strings.Replace(crd, tc.old, tc.replacement, 1)
			if tc.old != "" && edited == crd {
				t.Fatalf("the CRD has no %q", tc.old)
			}
			write(t, root, grantCRD, edited)
			got, err := checkCRDCompat(root)
			if tc.want == "" {
				wantProblems(t, got, err)
			} else {
				wantProblems(t, got, err, tc.want)
			}
		})
	}
}

func TestCRDCompat_namesTheLastRelease(t *testing.T) {
	root, crd := released(t)
	narrowed := strings.Replace(crd, "maxItems: 1000\n", "maxItems: 100\n", 1)
	// The commit of the release itself is compared with the release before, and there is none.
	got, err := checkCRDCompat(root)
	wantProblems(t, got, err)

	write(t, root, grantCRD, narrowed)
	commit(t, root, "")
	got, err = checkCRDCompat(root)
	wantProblems(t, got, err, compatFile+`: lastRelease is "", and v0.1.0 is released: name that, and clear judged`)

	write(t, root, compatFile, "lastRelease: v0.1.0\n")
	commit(t, root, "v0.2.0-rc.1")
	gitIn(t, root, "tag", "chart-9.0.0") // no release of this
	got, err = checkCRDCompat(root)
	wantProblems(t, got, err, "Grant.spec.subjects: maxItems was 1000 and is 100")

	commit(t, root, "v0.2.0")
	commit(t, root, "")
	got, err = checkCRDCompat(root)
	wantProblems(t, got, err, "Grant.spec.subjects: maxItems was 1000 and is 100",
		compatFile+`: lastRelease is "v0.1.0", and v0.2.0 is released: name that, and clear judged`)

	write(t, root, compatFile, "lastRelease: v0.2.0\n")
	got, err = checkCRDCompat(root)
	wantProblems(t, got, err)
}

func TestCRDCompat_failsWhereItCannotCompare(t *testing.T) {
	root, _ := released(t)
	for name, text := range map[string]string{
		"a release that is not in the clone": "lastRelease: v0.0.9\n",
		"a misspelled field":                 "latestRelease: v0.1.0\n",
	} {
		write(t, root, compatFile, text)
		if got, err := checkCRDCompat(root); err == nil {
			t.Errorf("%s: no error, and %q", name, got)
		}
	}
	if err := os.Remove(filepath.Join(root, compatFile)); err != nil {
		t.Fatal(err)
	}
	if got, err := checkCRDCompat(root); err == nil {
		t.Errorf("without %s: no error, and %q", compatFile, got)
	}
}

func TestSettle(t *testing.T) {
	found := []finding{question("X.a", "new rule: r"), question("X.b", "new rule: r"), refusal("X.c", "removed")}
	got := settle(found, map[string]string{
		"X.a: new rule: r": "the webhook refused it before",
		"X.b: new rule: r": " ",
		"X.c: removed":     "nobody used it",
		"X.d: removed":     "there was an X.d once",
	})
	wantProblems(t, got, nil,
		compatFile+": judged: say why it refuses nothing that was valid: X.b: new rule: r",
		"X.c: removed",
		compatFile+": judged: nothing of the kind is found, so remove it: X.d: removed")
	wantProblems(t, settle(found[:1], nil), nil, "X.a: new rule: r (to be judged: see CONTRIBUTING.md)")
}
