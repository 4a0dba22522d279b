package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// project is what we keep of PROJECT.
type project struct {
	Repo      string     `json:"repo"`
	Resources []resource `json:"resources"`
}

type resource struct {
	API struct {
		CRDVersion string `json:"crdVersion"`
		Namespaced bool   `json:"namespaced"`
	} `json:"api"`
	Controller bool   `json:"controller"`
	Group      string `json:"group"`
	Domain     string `json:"domain"`
	Kind       string `json:"kind"`
	Version    string `json:"version"`
	Path       string `json:"path"`
}

// checkProject compares PROJECT with the types, controllers and CRDs that there are, both ways.
func checkProject(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, "PROJECT"))
	if err != nil {
		return nil, err
	}
	var declared project
	if err := yaml.Unmarshal(text, &declared); err != nil {
		return nil, fmt.Errorf("PROJECT: %w", err)
	}
	crds, err := readCRDs(filepath.Join(root, crdDir))
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, r := range declared.Resources {
		found, err := checkResource(root, declared.Repo, r, crds)
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
	}
	for _, crd := range crds {
		kind := crd.Spec.Names.Kind
		if !slices.ContainsFunc(declared.Resources, func(r resource) bool { return r.Kind == kind }) {
			problems = append(problems, fmt.Sprintf("PROJECT: %s has a CRD and is no resource", kind))
		}
	}
	return problems, nil
}

func checkResource(root, repo string, r resource, crds []apiextensionsv1.CustomResourceDefinition) ([]string, error) {
	var problems []string
	complain := func(format string, args ...any) {
		problems = append(problems, "PROJECT: "+r.Kind+": "+fmt.Sprintf(format, args...))
	}
	dir, inRepo := strings.CutPrefix(r.Path, repo+"/")
	if !inRepo {
		complain("path %s is not in %s", r.Path, repo)
		return problems, nil
	}
	if ok, err := declaresType(filepath.Join(root, dir), r.Kind); err != nil {
		return nil, err
	} else if !ok {
		complain("no type %s in %s", r.Kind, dir)
	}
	if ok, err := declaresType(filepath.Join(root, "controllers"), r.Kind+"Reconciler"); err != nil {
		return nil, err
	} else if ok != r.Controller {
		complain("controller is %t, and that controllers has a %sReconciler is %t", r.Controller, r.Kind, ok)
	}
	i := slices.IndexFunc(crds, func(crd apiextensionsv1.CustomResourceDefinition) bool { return crd.Spec.Names.Kind == r.Kind })
	if i < 0 {
		complain("no CRD in %s", crdDir)
		return problems, nil
	}
	crd := crds[i]
	if want := r.Group + "." + r.Domain; crd.Spec.Group != want {
		complain("group is %s, and the CRD's is %s", want, crd.Spec.Group)
	}
	if namespaced := crd.Spec.Scope == apiextensionsv1.NamespaceScoped; namespaced != r.API.Namespaced {
		complain("namespaced is %t, and the CRD's scope is %s", r.API.Namespaced, crd.Spec.Scope)
	}
	if !slices.ContainsFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == r.Version }) {
		complain("the CRD has no version %s", r.Version)
	}
	return problems, nil
}

// declaresType says whether a package, which need not exist, declares a type in a file that is no test.
func declaresType(dir, name string) (bool, error) {
	declares := false
	err := forEachFile(dir, func(file *ast.File) {
		for _, declaration := range file.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE {
				continue
			}
			for _, spec := range general.Specs {
				declares = declares || spec.(*ast.TypeSpec).Name.Name == name
			}
		}
	})
	return declares, err
}

// forEachFile parses the Go files of a directory, tests left out.
func forEachFile(dir string, do func(*ast.File)) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		do(file)
	}
	return nil
}
