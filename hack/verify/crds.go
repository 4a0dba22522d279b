package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const crdDir = "config/crd/bases"

func readCRDs(dir string) ([]apiextensionsv1.CustomResourceDefinition, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no CRD in %s", dir)
	}
	crds := make([]apiextensionsv1.CustomResourceDefinition, len(paths))
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(text, &crds[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return crds, nil
}

// checkCRDCompat compares the CRDs with those of the last tag: what they took, they must still take.
// CEL rules and patterns are not compared: a change of theirs can't be judged without its meaning.
func checkCRDCompat(root string) ([]string, error) {
	tag, err := git(root, "describe", "--tags", "--abbrev=0")
	if err != nil {
		fmt.Println("crd-compat: no tag yet, so there is nothing to be compatible with")
		return nil, nil //nolint:nilerr // git says so by failing
	}
	tag = strings.TrimSpace(tag)
	released, err := releasedCRDs(root, tag)
	if err != nil {
		return nil, err
	}
	current, err := readCRDs(filepath.Join(root, crdDir))
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, old := range released {
		i := slices.IndexFunc(current, func(crd apiextensionsv1.CustomResourceDefinition) bool { return crd.Name == old.Name })
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s: was in %s and is gone", old.Name, tag))
			continue
		}
		problems = append(problems, compareCRDs(old, current[i])...)
	}
	return problems, nil
}

func releasedCRDs(root, tag string) ([]apiextensionsv1.CustomResourceDefinition, error) {
	listing, err := git(root, "ls-tree", "--name-only", tag, crdDir+"/")
	if err != nil {
		return nil, err
	}
	var crds []apiextensionsv1.CustomResourceDefinition
	for file := range strings.FieldsSeq(listing) {
		if path.Ext(file) != ".yaml" {
			continue
		}
		text, err := git(root, "show", tag+":"+file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal([]byte(text), &crd); err != nil {
			return nil, fmt.Errorf("%s:%s: %w", tag, file, err)
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

func git(root string, args ...string) (string, error) {
	command := exec.Command("git", args...)
	command.Dir = root
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

func compareCRDs(old, current apiextensionsv1.CustomResourceDefinition) []string {
	var problems []string
	if old.Spec.Scope != current.Spec.Scope {
		problems = append(problems, fmt.Sprintf("%s: scope was %s and is %s", old.Name, old.Spec.Scope, current.Spec.Scope))
	}
	for _, version := range old.Spec.Versions {
		if !version.Served {
			continue
		}
		i := slices.IndexFunc(current.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return v.Name == version.Name && v.Served
		})
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s: version %s is no longer served", old.Name, version.Name))
			continue
		}
		was, is := version.Schema, current.Spec.Versions[i].Schema
		if was == nil || is == nil {
			return append(problems, fmt.Sprintf("%s: version %s has no schema", old.Name, version.Name))
		}
		problems = append(problems, compareSchemas(old.Spec.Names.Kind, was.OpenAPIV3Schema, is.OpenAPIV3Schema)...)
	}
	return problems
}

// compareSchemas reports what was accepted and no longer is: removed fields, other types, narrowed
// enums, fields newly required, bounds newly set or drawn closer.
func compareSchemas(at string, was, is *apiextensionsv1.JSONSchemaProps) []string {
	problems := compareValues(at, was, is)
	for _, name := range slices.Sorted(maps.Keys(was.Properties)) {
		old, field := was.Properties[name], at+"."+name
		current, ok := is.Properties[name]
		if !ok {
			problems = append(problems, field+": removed")
			continue
		}
		problems = append(problems, compareSchemas(field, &old, &current)...)
	}
	for _, name := range is.Required {
		if !slices.Contains(was.Required, name) {
			problems = append(problems, at+"."+name+": newly required")
		}
	}
	if was.Items != nil && was.Items.Schema != nil && is.Items != nil && is.Items.Schema != nil {
		problems = append(problems, compareSchemas(at+"[]", was.Items.Schema, is.Items.Schema)...)
	}
	if was.AdditionalProperties != nil && was.AdditionalProperties.Schema != nil &&
		is.AdditionalProperties != nil && is.AdditionalProperties.Schema != nil {
		problems = append(problems, compareSchemas(at+"{}", was.AdditionalProperties.Schema, is.AdditionalProperties.Schema)...)
	}
	return problems
}

func compareValues(at string, was, is *apiextensionsv1.JSONSchemaProps) []string {
	var problems []string
	if was.Type != is.Type {
		problems = append(problems, fmt.Sprintf("%s: type was %q and is %q", at, was.Type, is.Type))
	}
	if len(is.Enum) > 0 {
		if len(was.Enum) == 0 {
			problems = append(problems, at+": took any value and is an enum")
		}
		for _, value := range was.Enum {
			same := func(v apiextensionsv1.JSON) bool { return bytes.Equal(v.Raw, value.Raw) }
			if !slices.ContainsFunc(is.Enum, same) {
				problems = append(problems, fmt.Sprintf("%s: no longer takes %s", at, value.Raw))
			}
		}
	}
	return slices.Concat(problems,
		lowered(at, "maxLength", was.MaxLength, is.MaxLength),
		lowered(at, "maxItems", was.MaxItems, is.MaxItems),
		lowered(at, "maxProperties", was.MaxProperties, is.MaxProperties),
		lowered(at, "maximum", was.Maximum, is.Maximum),
		raised(at, "minLength", was.MinLength, is.MinLength),
		raised(at, "minItems", was.MinItems, is.MinItems),
		raised(at, "minProperties", was.MinProperties, is.MinProperties),
		raised(at, "minimum", was.Minimum, is.Minimum),
	)
}

func lowered[T int64 | float64](at, bound string, was, is *T) []string {
	if is == nil || was != nil && *is >= *was {
		return nil
	}
	return []string{tightened(at, bound, was, *is)}
}

func raised[T int64 | float64](at, bound string, was, is *T) []string {
	if is == nil || was != nil && *is <= *was {
		return nil
	}
	return []string{tightened(at, bound, was, *is)}
}

func tightened[T int64 | float64](at, bound string, was *T, is T) string {
	if was == nil {
		return fmt.Sprintf("%s: %s is new: %v", at, bound, is)
	}
	return fmt.Sprintf("%s: %s was %v and is %v", at, bound, *was, is)
}
