package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes files into a new git repository and returns its directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, root, "init", "--quiet")
	return root
}

func gitIn(t *testing.T, root string, args ...string) {
	t.Helper()
	command := exec.Command("git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// wantProblems compares the problems that a check finds with the expected ones, in any order.
func wantProblems(t *testing.T, got []string, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestRun_refusesAnUnknownCheck(t *testing.T) {
	for _, args := range [][]string{nil, {"everything"}, {"docs", "imports"}} {
		if err := run(args); err == nil {
			t.Errorf("run(%q) succeeded", args)
		}
	}
}

func TestImports_onATree(t *testing.T) {
	root := tree(t, map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.26\n",
		"hack/import-rules.yaml": `
- {package: core, pure: true}
- {package: edge, imports: [core]}
`,
		"core/core.go":      "package core\n\nimport clock \"time\"\n\nvar Start = clock.Now\n",
		"core/core_test.go": "package core\n\nimport \"time\"\n\nvar testStart = time.Now\n",
		"edge/edge.go":      "package edge\n\nimport (\n\t_ \"example.com/m/core\"\n\t_ \"net/http\"\n)\n",
		"lost/lost.go":      "package lost\n\nimport _ \"example.com/m/edge\"\n",
	})
	got, err := checkImports(root)
	wantProblems(t, got, err,
		"core/core.go:5: time.Now: a pure package is given the time",
		"lost: no rule in hack/import-rules.yaml")
}

func TestCheckPackage(t *testing.T) {
	rules := []importRule{
		{Package: "pure", Pure: true, Imports: []string{"other"}},
		{Package: "other", Outside: []string{"..."}},
		{Package: "strict/...", Outside: []string{"example.com/a/..."}},
	}
	const refusal = ", which hack/import-rules.yaml does not let it"
	cases := map[string]struct {
		name    string
		imports []string
		deps    []string
		want    []string
	}{
		"what the rule lists is allowed": {
			name: "pure", imports: []string{"example.com/m/other", "strings"},
		},
		"another package of the module is not": {
			name: "pure", imports: []string{"example.com/m/strict"}, want: []string{"pure: imports strict" + refusal},
		},
		"another module is not": {
			name: "strict/x", imports: []string{"example.com/b"}, want: []string{"strict/x: imports example.com/b" + refusal},
		},
		"a listed module is, with its packages": {
			name: "strict/x", imports: []string{"example.com/a/b", "example.com/a"},
		},
		"a pure package does no input or output": {
			name: "pure", imports: []string{"net/http"},
			want: []string{"pure: imports net/http, and a pure package does no input or output"},
		},
		"the others may": {
			name: "other", imports: []string{"net/http"},
		},
		"a client is found behind other packages": {
			name: "pure", deps: []string{"k8s.io/client-go/rest"},
			want: []string{"pure: reaches k8s.io/client-go/rest, and a pure package reaches no client"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rule, ok := ruleFor(rules, tc.name)
			if !ok {
				t.Fatalf("no rule for %s", tc.name)
			}
			got := checkPackage(rule, tc.name, "example.com/m", goPackage{Imports: tc.imports, Deps: tc.deps})
			wantProblems(t, got, nil, tc.want...)
		})
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "a/b", false},
		{"a/...", "a", true},
		{"a/...", "a/b/c", true},
		{"a/...", "ab", false},
		{"...", "anything", true},
		{".", ".", true},
	} {
		if got := matches(tc.pattern, tc.name); got != tc.want {
			t.Errorf("matches(%q, %q) = %t", tc.pattern, tc.name, got)
		}
	}
}

const widgetCRD = `
metadata: {name: widgets.example.dev}
spec:
  group: example.dev
  scope: Namespaced
  names: {kind: Widget}
  versions:
  - name: v1
    served: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer}
              parts:
                type: array
                items:
                  type: object
                  properties: {id: {type: string}}
              template:
                type: object
                properties: {notOurs: {type: string}}
`

func TestDocs(t *testing.T) {
	root := tree(t, map[string]string{
		"Makefile":                       "build: ## Build.\ntest-e2e:\n",
		"config/crd/bases/widgets.yaml":  widgetCRD,
		"api/v1alpha1/types.go":          "package v1alpha1\n\nconst (\n\tReasonSpun = \"Spun\"\n\tReasonLost = \"Lost\"\n\tLabelJob = \"x\"\n)\n",
		"api/v1alpha1/extra/nothing.txt": "",
		"README.md": "# Widgets\n\n## In use\n\nSee `api/v1alpha1`, `api/*/types.go` and `docs/spec/<kind>.md`, not `api/v2`.\n" +
			"`k8s.io/api/batch/v1` and `test e2e/x` are no paths. Run `make build`.\n\n" +
			"```sh\nmake test-e2e install\n$ make deploy\n```\n\n" +
			"[a](docs/spec/widget.md#size) [b](docs/spec/widget.md#colour) [c](gone.md) [d](#in-use) [e](https://example.com)\n" +
			"`[f](no/link.md)`\n",
		"CHANGELOG.md":        "# Changes\n\n`api/v0` is gone. The rate is to be measured.\n",
		"docs/spec/widget.md": "# Widget\n\n## size\n\n| field | meaning |\n|---|---|\n| `.spec.parts[]` | x |\n| `template` | x |\n\n```yaml\nreason: Spun\n```\n",
	})
	got, err := checkDocs(root)
	wantProblems(t, got, err,
		`CHANGELOG.md: "to be measured": fill the gap`,
		"README.md: `api/v2`: no such file",
		"README.md: make install: no such target",
		"README.md: make deploy: no such target",
		"README.md: link to docs/spec/widget.md#colour: no such heading",
		"README.md: link to gone.md: no such file",
		"docs/spec/widget.md: spec.parts.id has neither heading nor row",
		"docs/spec: the condition or reason `Lost` is not described")
}

func TestDocs_wantAPageForEachKind(t *testing.T) {
	root := tree(t, map[string]string{
		"Makefile":                      "build:\n",
		"config/crd/bases/widgets.yaml": widgetCRD,
		"README.md":                     "# Widgets\n",
	})
	got, err := checkDocs(root)
	wantProblems(t, got, err, "docs/spec/widget.md: missing")
}

func TestDocs_namedTestsExist(t *testing.T) {
	root := tree(t, map[string]string{
		"Makefile":                      "fast:\n\tgo test -run '^TestFast$$' -bench '^BenchmarkSlow$$' ./...\n",
		"config/crd/bases/widgets.yaml": strings.Replace(widgetCRD, "kind: Widget", "kind: Test", 1),
		"a/a_test.go":                   "package a\n\nfunc TestFast(t *testing.T) {}\n\nfunc FuzzParse_deep(f *testing.F) {}\n",
		"b/b_test.go":                   "package b\n\nfunc BenchmarkOld(b *testing.B) {}\n\n// func TestGone(t *testing.T) {}\n",
		"docs/traceability.md": "`TestFast`ᴬ, `FuzzParse_…`, `BenchmarkOld`; TestWords are none, and nor is `Tests`.\n" +
			"`TestGone`, `TestFas`, `TestFast_…`\n\n```sh\ngo test -run TestInACodeBlock\n```\n",
		"CHANGELOG.md": "`TestLongGone`\n",
	})
	pages, err := readPages(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkTests(root, pages)
	wantProblems(t, got, err,
		"Makefile: BenchmarkSlow: no such test",
		"docs/traceability.md: TestGone: no such test",
		"docs/traceability.md: TestFas: no such test",
		"docs/traceability.md: TestFast_: no such test",
		"docs/traceability.md: TestInACodeBlock: no such test")
}

func TestDocs_rightsAreThoseOfTheRoles(t *testing.T) {
	const role = `
kind: ClusterRole
metadata: {name: grantry}
rules:
- {apiGroups: [""], resources: [pods, nodes], verbs: [get, list]}
- {apiGroups: [a.dev], resources: [hooks], resourceNames: [mine], verbs: [patch]}
---
kind: Role
metadata: {name: grantry}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [get, update]}
`
	const text = "| `ClusterRole/grantry` | | `widgets` | `get` | under another heading |\n\n## Rights\n\n" +
		"| role | group | resources | verbs | for |\n|---|---|---|---|---|\n" +
		"| `ClusterRole/grantry` | | `pods`, `nodes` | `list`, `get` | looking |\n"
	const hooks = "| `ClusterRole/grantry` | `a.dev` | `hooks/mine` | `patch` | x |\n"
	cases := map[string]struct {
		page string
		want []string
	}{
		"all of it": {page: text + hooks + "| `Role/grantry` | | `secrets` | `get`, `update` | x |\n"},
		"too little": {page: text + "| `Role/grantry` | | `secrets` | `get` | x |\n", want: []string{
			`docs/operations.md: Rights: not in the table: ClusterRole/grantry: patch on hooks/mine of the group "a.dev"`,
			`docs/operations.md: Rights: not in the table: Role/grantry: update on secrets of the group ""`,
		}},
		"too much, and by another role": {
			page: text + hooks + "| `ClusterRole/grantry` | | `secrets` | `get`, `update` | x |\n",
			want: []string{
				`docs/operations.md: Rights: no role gives: ClusterRole/grantry: get, update on secrets of the group ""`,
				`docs/operations.md: Rights: not in the table: Role/grantry: get, update on secrets of the group ""`,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			root := tree(t, map[string]string{"config/rbac/role.yaml": role})
			got, err := checkRights(root, map[string]page{rightsPage: parsePage(rightsPage, tc.page)})
			wantProblems(t, got, err, tc.want...)
		})
	}
}

func TestEmptyBlocks(t *testing.T) {
	const text = "<!-- begin a -->\n| x | 1 |\n<!-- end a -->\n<!-- begin b -->\n\n<!-- end b -->\n<!-- begin c -->\nx\n<!-- end d -->\n"
	wantProblems(t, emptyBlocks("x.md", text), nil,
		`x.md: the block "b" is empty, or has another's end`,
		`x.md: the block "c" is empty, or has another's end`)
}

func TestAnchors(t *testing.T) {
	got := anchors(parsePage("x.md", "# Who can?\n## `spec.acl`, and more\n## Who can?\n"))
	if diff := cmp.Diff([]string{"who-can", "specacl-and-more", "who-can-1"}, got); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}

func TestProject(t *testing.T) {
	const declared = `
repo: example.com/m
resources:
- {api: {namespaced: true}, controller: true, group: example, domain: dev, kind: Widget, version: v1, path: example.com/m/api}
`
	files := func(project, controller string) map[string]string {
		return map[string]string{
			"PROJECT":                       project,
			"api/types.go":                  "package api\n\ntype Widget struct{}\n",
			"controllers/widget.go":         "package controllers\n\ntype " + controller + " struct{}\n",
			"config/crd/bases/widgets.yaml": widgetCRD,
		}
	}
	cases := map[string]struct {
		files map[string]string
		want  []string
	}{
		"a true record": {files: files(declared, "WidgetReconciler")},
		"no controller": {
			files: files(declared, "GadgetReconciler"),
			want:  []string{"PROJECT: Widget: controller is true, and that controllers has a WidgetReconciler is false"},
		},
		"no resource for a CRD": {
			files: files("repo: example.com/m\n", "WidgetReconciler"),
			want:  []string{"PROJECT: Widget has a CRD and is no resource"},
		},
		"another kind, scope, group and version": {
			files: files(strings.NewReplacer("namespaced: true", "namespaced: false", "group: example", "group: other",
				"version: v1", "version: v2").Replace(declared), "WidgetReconciler"),
			want: []string{
				"PROJECT: Widget: namespaced is false, and the CRD's scope is Namespaced",
				"PROJECT: Widget: group is other.dev, and the CRD's is example.dev",
				"PROJECT: Widget: the CRD has no version v2",
			},
		},
		"a path elsewhere": {
			files: files(strings.Replace(declared, "example.com/m/api", "example.com/n/api", 1), "WidgetReconciler"),
			want:  []string{"PROJECT: Widget: path example.com/n/api is not in example.com/m"},
		},
		"no type and no CRD": {
			files: files(strings.Replace(declared, "kind: Widget", "kind: Gadget", 1), "GadgetReconciler"),
			want: []string{
				"PROJECT: Gadget: no type Gadget in api",
				"PROJECT: Gadget: no CRD in config/crd/bases",
				"PROJECT: Widget has a CRD and is no resource",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := checkProject(tree(t, tc.files))
			wantProblems(t, got, err, tc.want...)
		})
	}
}
