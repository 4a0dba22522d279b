package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const compatFile = "config/crd/compatibility.yaml"

// compatibility is what compatFile says. The release is written down, and not only looked for among the tags: once one
// is named, a clone without its tag fails, where it would find nothing to compare with. As long as none is named, a
// clone without tags takes that on trust: it can't tell that a release was made.
type compatibility struct {
	// LastRelease is the tag of the release that the CRDs are compared with, empty before the first one.
	LastRelease string `json:"lastRelease"`
	// Judged are findings that take a person to judge, and refuse nothing that was valid; each with the reason.
	Judged map[string]string `json:"judged"`
}

// checkCRDCompat compares the CRDs with those of the last release: what they took, they must still take.
func checkCRDCompat(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, compatFile))
	if err != nil {
		return nil, err
	}
	var c compatibility
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", compatFile, err)
	}
	missed, err := missedReleases(root, c.LastRelease)
	if err != nil {
		return nil, err
	}
	if c.LastRelease == "" {
		fmt.Println("crd-compat: " + compatFile + " names no release, so nothing is compared; that there is none is seen only in a clone with its tags")
		return append(missed, settle(nil, c.Judged)...), nil
	}
	released, err := releasedCRDs(root, c.LastRelease)
	if err != nil {
		return nil, err
	}
	current, err := readCRDs(filepath.Join(root, crdDir))
	if err != nil {
		return nil, err
	}
	var found []finding
	for _, old := range released {
		i := slices.IndexFunc(current, func(crd apiextensionsv1.CustomResourceDefinition) bool { return crd.Name == old.Name })
		if i < 0 {
			found = append(found, refusal(old.Name, "was in %s and is gone", c.LastRelease))
			continue
		}
		found = append(found, compareCRDs(old, current[i])...)
	}
	return append(missed, settle(found, c.Judged)...), nil
}

// missedReleases reports the release before this commit that compatFile should name, and does not. It knows the releases
// whose tags this clone has, and proves nothing in a clone without. The commit
// that a release is made of still names the one before, or it would be compared with itself.
func missedReleases(root, named string) ([]string, error) {
	tags, err := git(root, "-c", "versionsort.suffix=-", "tag", "--list", "v[0-9]*", "--merged=HEAD", "--no-contains=HEAD", "--sort=-version:refname")
	if err != nil {
		return nil, err
	}
	newest, _, _ := strings.Cut(tags, "\n")
	if newest == "" || newest == named {
		return nil, nil
	}
	return []string{fmt.Sprintf("%s: lastRelease is %q, and %s is released: name that, and clear judged", compatFile, named, newest)}, nil
}

// settle leaves out the findings that were judged, and adds what was judged and is not found.
func settle(found []finding, judged map[string]string) []string {
	var problems []string
	for _, f := range found {
		if _, ok := judged[f.text]; !ok || !f.forPerson {
			problems = append(problems, f.String())
		}
	}
	for text, reason := range judged {
		if !slices.ContainsFunc(found, func(f finding) bool { return f.text == text }) {
			problems = append(problems, fmt.Sprintf("%s: judged: nothing of the kind is found, so remove it: %s", compatFile, text))
		}
		if strings.TrimSpace(reason) == "" {
			problems = append(problems, fmt.Sprintf("%s: judged: say why it refuses nothing that was valid: %s", compatFile, text))
		}
	}
	return problems
}

func releasedCRDs(root, tag string) ([]apiextensionsv1.CustomResourceDefinition, error) {
	listing, err := git(root, "ls-tree", "--name-only", "refs/tags/"+tag, crdDir+"/")
	if err != nil {
		return nil, fmt.Errorf("%s names the release %s: if it isn't in this clone, run `git fetch --tags` (with --unshallow in a shallow one): %w",
			compatFile, tag, err)
	}
	var crds []apiextensionsv1.CustomResourceDefinition
	for file := range strings.FieldsSeq(listing) {
		if path.Ext(file) != ".yaml" {
			continue
		}
		text, err := git(root, "show", "refs/tags/"+tag+":"+file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal([]byte(text), &crd); err != nil {
			return nil, fmt.Errorf("%s:%s: %w", tag, file, err)
		}
		crds = append(crds, crd)
	}
	if len(crds) == 0 {
		return nil, fmt.Errorf("no CRD in %s of %s", crdDir, tag)
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
