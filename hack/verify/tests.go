package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
)

// checkTests wants each test, fuzz test and benchmark that a page or the Makefile names to be there: go test
// -run of a name that nothing has succeeds without a word.
func checkTests(root string, pages map[string]page) ([]string, error) {
	tests, err := readTests(root)
	if err != nil {
		return nil, err
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, err
	}
	named := map[string][]string{"Makefile": testName.FindAllString(string(makefile), -1)}
	for path, p := range pages {
		if path == "CHANGELOG.md" { // tells of what is gone, too
			continue
		}
		for _, text := range slices.Concat(p.spans, p.code) {
			named[path] = append(named[path], testName.FindAllString(text, -1)...)
		}
	}
	var problems []string
	for path, names := range named {
		for _, name := range names {
			if !tests[name] && !isFamily(name, tests) {
				problems = append(problems, fmt.Sprintf("%s: %s: no such test", path, name))
			}
		}
	}
	return problems, nil
}

// isFamily says whether a name ends in "_" and begins those of some tests, as in `TestNext_…`.
func isFamily(name string, tests map[string]bool) bool {
	if !strings.HasSuffix(name, "_") {
		return false
	}
	for test := range tests {
		if strings.HasPrefix(test, name) {
			return true
		}
	}
	return false
}

// readTests returns the names of the tests, fuzz tests and benchmarks of all modules.
func readTests(root string) (map[string]bool, error) {
	files, err := readFiles(root, "*_test.go")
	if err != nil {
		return nil, err
	}
	tests := map[string]bool{}
	for _, text := range files {
		for _, match := range testFunc.FindAllStringSubmatch(text, -1) {
			tests[match[1]] = true
		}
	}
	return tests, nil
}
