package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// The roles are described in the rows of one section: role, API group, resources, verbs, and what for.
const (
	rightsPage    = "docs/operations.md"
	rightsHeading = "Rights"
	roleFiles     = "config/rbac/*role.yaml"
)

// right is what a role may do something to; RESOURCE/NAME is a resource of which only that name is given.
type right struct {
	role, group, resource string
}

// rights are the verbs of each.
type rights map[right][]string

func (r rights) add(role, group, resource string, verbs ...string) {
	key := right{role, group, resource}
	r[key] = slices.Compact(slices.Sorted(slices.Values(append(r[key], verbs...))))
}

// missing returns what r has and others has not, a line for each right.
func (r rights) missing(others rights, problem string) []string {
	var lines []string
	for key, verbs := range r {
		lacking := slices.DeleteFunc(slices.Clone(verbs), func(verb string) bool { return slices.Contains(others[key], verb) })
		if len(lacking) > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s: %s: %s: %s on %s of the group %q",
				rightsPage, rightsHeading, problem, key.role, strings.Join(lacking, ", "), key.resource, key.group))
		}
	}
	return lines
}

// checkRights wants the page to say of each role exactly what it gives: no more, and no less.
func checkRights(root string, pages map[string]page) ([]string, error) {
	held, err := readRights(root)
	if err != nil {
		return nil, err
	}
	told := describedRights(pages[rightsPage])
	return append(held.missing(told, "not in the table"), told.missing(held, "no role gives")...), nil
}

func describedRights(p page) rights {
	told := rights{}
	for _, r := range p.rows {
		if r.heading != rightsHeading || len(r.cells) < 4 || !codeSpan.MatchString(r.cells[0]) {
			continue // another table, or the head of this one
		}
		for _, role := range codes(r.cells[0]) {
			for _, group := range codes(r.cells[1]) {
				for _, resource := range codes(r.cells[2]) {
					told.add(role, group, resource, codes(r.cells[3])...)
				}
			}
		}
	}
	return told
}

// codes returns the back-quoted words of a cell. A cell without any stands for the group that has no name.
func codes(cell string) []string {
	var words []string
	for _, match := range codeSpan.FindAllStringSubmatch(cell, -1) {
		words = append(words, match[1])
	}
	if words == nil {
		return []string{""}
	}
	return words
}

func readRights(root string) (rights, error) {
	paths, err := filepath.Glob(filepath.Join(root, roleFiles))
	if err != nil {
		return nil, err
	}
	held := rights{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := addRights(held, text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return held, nil
}

// addRights reads the Roles and ClusterRoles of a file, which differ in their kind alone.
func addRights(held rights, text []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var role rbacv1.ClusterRole
		if err := decoder.Decode(&role); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, rule := range role.Rules {
			held.addRule(role.Kind+"/"+role.Name, rule)
		}
	}
}

func (r rights) addRule(role string, rule rbacv1.PolicyRule) {
	for _, path := range rule.NonResourceURLs {
		r.add(role, "", path, rule.Verbs...)
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			if len(rule.ResourceNames) > 0 {
				resource += "/" + strings.Join(rule.ResourceNames, ",")
			}
			r.add(role, group, resource, rule.Verbs...)
		}
	}
}
