package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// topLevel are the directories of the repository: a back-quoted word that begins with one is a path in it.
var topLevel = []string{".ci", ".github", "api", "charts", "cmd", "config", "controllers", "docs", "hack", "internal", "test"}

// foreignFields are fields of spec whose types are not ours: the documents of Kubernetes describe them.
var foreignFields = []string{"template"}

var (
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`^#{1,6} +(.+)$`)
	makeTarget = regexp.MustCompile(`^(?:\$ )?make ((?:[a-zA-Z0-9._-]+ ?)+)`)
	makeRule   = regexp.MustCompile(`(?m)^([a-z0-9._-]+):(?: |$)`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	name       = regexp.MustCompile(`[A-Za-z0-9]+`)
	gap        = regexp.MustCompile(`\b(TBD|TODO|FIXME)\b|to be measured`)
)

// page is a Markdown file, taken apart.
type page struct {
	path     string
	headings []string
	spans    []string // back-quoted text outside code blocks
	rows     []row
	code     []string // lines of code blocks
	links    []string
	gaps     []string // places that somebody still has to fill
	empty    []string // problems of generated blocks
}

// row is a row of a table, below the last heading before it.
type row struct {
	heading string
	cells   []string
}

func checkDocs(root string) ([]string, error) {
	pages, err := readPages(root)
	if err != nil {
		return nil, err
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, err
	}
	targets := map[string]bool{}
	for _, match := range makeRule.FindAllStringSubmatch(string(makefile), -1) {
		targets[match[1]] = true
	}
	var problems []string
	for _, path := range slices.Sorted(maps.Keys(pages)) {
		p := pages[path]
		problems = append(problems, checkTargets(p, targets)...)
		problems = append(problems, checkLinks(root, p, pages)...)
		problems = append(problems, p.empty...)
		for _, left := range p.gaps {
			problems = append(problems, fmt.Sprintf("%s: %q: fill the gap", path, left))
		}
		if path != "CHANGELOG.md" { // tells of what is gone, too
			problems = append(problems, checkPaths(root, p)...)
		}
	}
	crds, err := readCRDs(filepath.Join(root, crdDir))
	if err != nil {
		return nil, err
	}
	problems = append(problems, checkFields(crds, pages)...)
	reasons, err := readReasons(filepath.Join(root, "api", "v1alpha1"))
	if err != nil {
		return nil, err
	}
	problems = append(problems, checkReasons(reasons, pages)...)
	for _, more := range []func(string, map[string]page) ([]string, error){checkTests, checkRights} {
		found, err := more(root, pages)
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
	}
	return problems, nil
}

// readPages reads the Markdown files, by path.
func readPages(root string) (map[string]page, error) {
	files, err := readFiles(root, "*.md")
	if err != nil {
		return nil, err
	}
	pages := map[string]page{}
	for path, text := range files {
		pages[path] = parsePage(path, text)
	}
	return pages, nil
}

// readFiles reads the files that match a pattern of git's, and that git knows or would take, by path.
func readFiles(root, pattern string) (map[string]string, error) {
	listing, err := git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", pattern)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for path := range strings.SplitSeq(strings.Trim(listing, "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) || path == "" {
			continue // deleted, and git has not been told
		}
		if err != nil {
			return nil, err
		}
		files[path] = string(text)
	}
	return files, nil
}

func parsePage(path, text string) page {
	p := page{path: path, empty: emptyBlocks(path, text)}
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "```") {
			fenced = !fenced
			continue
		}
		if match := gap.FindString(line); match != "" {
			p.gaps = append(p.gaps, match)
		}
		if fenced {
			p.code = append(p.code, trimmed)
			continue
		}
		if match := heading.FindStringSubmatch(line); match != nil {
			p.headings = append(p.headings, match[1])
		}
		if strings.HasPrefix(trimmed, "|") {
			p.rows = append(p.rows, row{
				heading: lastHeading(p),
				cells:   strings.Split(strings.Trim(trimmed, "|"), "|"),
			})
		}
		for _, match := range codeSpan.FindAllStringSubmatch(line, -1) {
			p.spans = append(p.spans, match[1])
		}
		for _, match := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, "``"), -1) {
			p.links = append(p.links, match[1])
		}
	}
	return p
}

func lastHeading(p page) string {
	if len(p.headings) == 0 {
		return ""
	}
	return p.headings[len(p.headings)-1]
}

func checkTargets(p page, targets map[string]bool) []string {
	var problems []string
	for _, text := range slices.Concat(p.spans, p.code) {
		match := makeTarget.FindStringSubmatch(text)
		if match == nil {
			continue
		}
		for target := range strings.FieldsSeq(match[1]) {
			if !targets[target] {
				problems = append(problems, fmt.Sprintf("%s: make %s: no such target", p.path, target))
			}
		}
	}
	return problems
}

// checkPaths looks up back-quoted paths: those below a top-level directory. A path may hold a pattern
// (internal/*/doc.go) or a placeholder (docs/spec/<kind>.md), which stands for anything.
func checkPaths(root string, p page) []string {
	var problems []string
	for _, span := range p.spans {
		first, _, below := strings.Cut(span, "/")
		if !below || !slices.Contains(topLevel, first) || strings.ContainsAny(span, " {}()=") {
			continue
		}
		pattern := strings.TrimSuffix(strings.TrimSuffix(span, "/..."), "/")
		pattern = regexp.MustCompile(`<[^>]+>|NNNN`).ReplaceAllString(pattern, "*")
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			problems = append(problems, fmt.Sprintf("%s: `%s`: no such file", p.path, span))
		}
	}
	return problems
}

// checkLinks follows relative links, and anchors of pages of ours.
func checkLinks(root string, p page, pages map[string]page) []string {
	var problems []string
	for _, target := range p.links {
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		file, anchor, _ := strings.Cut(target, "#")
		path := p.path
		if file != "" {
			path = filepath.Join(filepath.Dir(p.path), file)
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			problems = append(problems, fmt.Sprintf("%s: link to %s: no such file", p.path, target))
			continue
		}
		linked, ok := pages[path]
		if anchor != "" && ok && !slices.Contains(anchors(linked), anchor) {
			problems = append(problems, fmt.Sprintf("%s: link to %s: no such heading", p.path, target))
		}
	}
	return problems
}

// anchors returns what GitHub makes of a page's headings.
func anchors(p page) []string {
	var all []string
	seen := map[string]int{}
	for _, h := range p.headings {
		slug := strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(h), ""), " ", "-")
		if n := seen[slug]; n > 0 {
			all = append(all, slug+"-"+strconv.Itoa(n))
		} else {
			all = append(all, slug)
		}
		seen[slug]++
	}
	return all
}

// checkFields wants a heading or a table row for each field of spec, two levels deep, in the page of its
// kind: `cmd`, `run.cmd` and `spec.run.cmd` all do for the field cmd of run.
func checkFields(crds []apiextensionsv1.CustomResourceDefinition, pages map[string]page) []string {
	var problems []string
	for _, crd := range crds {
		path := "docs/spec/" + strings.ToLower(crd.Spec.Names.Kind) + ".md"
		p, ok := pages[path]
		if !ok {
			problems = append(problems, path+": missing")
			continue
		}
		described := describedFields(p)
		for _, version := range crd.Spec.Versions {
			spec := version.Schema.OpenAPIV3Schema.Properties["spec"]
			for _, field := range specFields(&spec, "spec", 2) {
				if !slices.ContainsFunc(spellings(field), func(s string) bool { return described[s] }) {
					problems = append(problems, fmt.Sprintf("%s: %s has neither heading nor row", path, field))
				}
			}
		}
	}
	return problems
}

func describedFields(p page) map[string]bool {
	described := map[string]bool{}
	texts := slices.Clone(p.headings)
	for _, r := range p.rows {
		texts = append(texts, r.cells[0])
	}
	for _, text := range texts {
		described[normalField(text)] = true
		for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
			described[normalField(span[1])] = true
		}
	}
	return described
}

// normalField drops what a path may be written with: .spec.schedules[].cron is spec.schedules.cron.
func normalField(text string) string {
	return strings.TrimPrefix(strings.NewReplacer("[]", "", "[*]", "", "`", "").Replace(strings.TrimSpace(text)), ".")
}

// spellings of spec.run.cmd are itself, run.cmd and cmd.
func spellings(field string) []string {
	all := []string{field}
	for {
		_, rest, ok := strings.Cut(field, ".")
		if !ok {
			return all
		}
		field = rest
		all = append(all, field)
	}
}

func specFields(schema *apiextensionsv1.JSONSchemaProps, at string, depth int) []string {
	if schema.Items != nil && schema.Items.Schema != nil {
		schema = schema.Items.Schema
	}
	if depth == 0 {
		return nil
	}
	var fields []string
	for _, property := range slices.Sorted(maps.Keys(schema.Properties)) {
		field := at + "." + property
		fields = append(fields, field)
		if !slices.Contains(foreignFields, property) {
			child := schema.Properties[property]
			fields = append(fields, specFields(&child, field, depth-1)...)
		}
	}
	return fields
}

// readReasons returns the values of the constants that name conditions, reasons and states.
func readReasons(dir string) ([]string, error) {
	var reasons []string
	err := forEachFile(dir, func(file *ast.File) {
		for _, declaration := range file.Decls {
			if general, ok := declaration.(*ast.GenDecl); ok && general.Tok == token.CONST {
				reasons = append(reasons, reasonsOf(general)...)
			}
		}
	})
	return reasons, err
}

func reasonsOf(constants *ast.GenDecl) []string {
	var reasons []string
	for _, spec := range constants.Specs {
		value := spec.(*ast.ValueSpec)
		for i, name := range value.Names {
			named := slices.ContainsFunc([]string{"Condition", "Reason", "State"}, func(prefix string) bool {
				return strings.HasPrefix(name.Name, prefix)
			})
			if !named || i >= len(value.Values) {
				continue
			}
			if literal, ok := value.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					reasons = append(reasons, text)
				}
			}
		}
	}
	return reasons
}

// checkReasons wants each condition, reason and state named in some page of docs/spec, as code.
func checkReasons(reasons []string, pages map[string]page) []string {
	named := map[string]bool{}
	for path, p := range pages {
		if !strings.HasPrefix(path, "docs/spec/") {
			continue
		}
		for _, text := range slices.Concat(p.spans, p.code) {
			for _, word := range name.FindAllString(text, -1) {
				named[word] = true
			}
		}
	}
	var problems []string
	for _, reason := range reasons {
		if !named[reason] {
			problems = append(problems, fmt.Sprintf("docs/spec: the condition or reason `%s` is not described", reason))
		}
	}
	return problems
}
