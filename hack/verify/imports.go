package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// importRule is one entry of hack/import-rules.yaml, which says what the fields mean.
type importRule struct {
	Package string   `json:"package"`
	Imports []string `json:"imports,omitempty"`
	Outside []string `json:"outside,omitempty"`
	Pure    bool     `json:"pure,omitempty"`
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

var (
	// A pure package reaches none of these, not even through others.
	clientModules = []string{"k8s.io/client-go/...", "sigs.k8s.io/controller-runtime/..."}
	// A pure package imports none of these itself; apimachinery brings some of them along.
	inputOutput = []string{"net", "net/http/...", "os/...", "log/...", "syscall/...", "database/sql/...", "math/rand/..."}
	// What reads the clock, or waits for it.
	clockFunctions = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
)

func checkImports(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, "hack", "import-rules.yaml"))
	if err != nil {
		return nil, err
	}
	var rules []importRule
	if err := yaml.UnmarshalStrict(text, &rules); err != nil {
		return nil, fmt.Errorf("hack/import-rules.yaml: %w", err)
	}
	module, packages, err := listPackages(root)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, p := range packages {
		name := nameInModule(p.ImportPath, module)
		rule, ok := ruleFor(rules, name)
		if !ok {
			problems = append(problems, name+": no rule in hack/import-rules.yaml")
			continue
		}
		problems = append(problems, checkPackage(rule, name, module, p)...)
		if rule.Pure {
			read, err := readsClock(p)
			if err != nil {
				return nil, err
			}
			problems = append(problems, read...)
		}
	}
	return problems, nil
}

func listPackages(root string) (module string, packages []goPackage, err error) {
	out, err := goList(root, "-m")
	if err != nil {
		return "", nil, err
	}
	module = strings.TrimSpace(string(out))
	if out, err = goList(root, "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./..."); err != nil {
		return "", nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return module, packages, nil
		} else if err != nil {
			return "", nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}

func goList(root string, args ...string) ([]byte, error) {
	command := exec.Command("go", append([]string{"list"}, args...)...)
	command.Dir = root
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return out, nil
}

// nameInModule returns "." for the module's root, "api/v1alpha1" for a package of it.
func nameInModule(importPath, module string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func ruleFor(rules []importRule, name string) (importRule, bool) {
	i := slices.IndexFunc(rules, func(r importRule) bool { return matches(r.Package, name) })
	if i < 0 {
		return importRule{}, false
	}
	return rules[i], true
}

// matches reads patterns as the Go command does: "a/..." matches a and what is below it, "..." all.
func matches(pattern, name string) bool {
	prefix, below := strings.CutSuffix(pattern, "...")
	if !below {
		return pattern == name
	}
	return strings.HasPrefix(name, prefix) || name == strings.TrimSuffix(prefix, "/")
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, name) })
}

func checkPackage(rule importRule, name, module string, p goPackage) []string {
	var problems []string
	for _, imported := range p.Imports {
		inside := imported == module || strings.HasPrefix(imported, module+"/")
		switch {
		case inside && !matchesAny(rule.Imports, nameInModule(imported, module)):
			problems = append(problems, fmt.Sprintf("%s: imports %s, which hack/import-rules.yaml does not let it",
				name, nameInModule(imported, module)))
		case !inside && isStandard(imported) && rule.Pure && matchesAny(inputOutput, imported):
			problems = append(problems, fmt.Sprintf("%s: imports %s, and a pure package does no input or output", name, imported))
		case !inside && !isStandard(imported) && !matchesAny(rule.Outside, imported):
			problems = append(problems, fmt.Sprintf("%s: imports %s, which hack/import-rules.yaml does not let it", name, imported))
		}
	}
	for _, reached := range p.Deps {
		if rule.Pure && matchesAny(clientModules, reached) {
			problems = append(problems, fmt.Sprintf("%s: reaches %s, and a pure package reaches no client", name, reached))
		}
	}
	return problems
}

// isStandard tells the standard library by its names: they have no dot in their first segment.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// readsClock finds calls such as time.Now in a package's files, whatever "time" is called there.
func readsClock(p goPackage) ([]string, error) {
	var problems []string
	files := token.NewFileSet()
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			return nil, err
		}
		alias := timeAlias(file)
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(clockFunctions, selector.Sel.Name) {
				return true
			}
			if from, ok := selector.X.(*ast.Ident); ok && from.Name == alias {
				at := files.Position(selector.Pos())
				problems = append(problems, fmt.Sprintf("%s:%d: time.%s: a pure package is given the time",
					filepath.Join(filepath.Base(p.Dir), name), at.Line, selector.Sel.Name))
			}
			return true
		})
	}
	return problems, nil
}

// timeAlias returns the name under which a file imports time, or "" if it does not.
func timeAlias(file *ast.File) string {
	for _, spec := range file.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err != nil || path != "time" {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return "time"
	}
	return ""
}
