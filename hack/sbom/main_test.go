package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"slices"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// TestRun: the bill of a program, which is this test, can be read, has every module that the program says it is of, and
// is the same twice.
func TestRun(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, to := range []*bytes.Buffer{&first, &second} {
		if err := run([]string{program}, to); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two bills of one program differ")
	}
	bom := &cyclonedx.BOM{}
	if err := cyclonedx.NewBOMDecoder(&first, cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Name != "github.com/grantry/grantry/hack/sbom" {
		t.Errorf("%s of %s", bom.BOMFormat, bom.Metadata.Component.Name)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) == 0 || len(*bom.Components) != len(info.Deps)+1 || len(*(*bom.Dependencies)[0].Dependencies) != len(info.Deps)+1 {
		t.Fatalf("%d modules, %d components", len(info.Deps), len(*bom.Components))
	}
	for _, module := range info.Deps {
		listed := slices.ContainsFunc(*bom.Components, func(c cyclonedx.Component) bool {
			return c.Name == module.Path && c.Version == module.Version && strings.HasPrefix(c.PackageURL, "pkg:golang/"+module.Path+"@") && c.Hashes != nil
		})
		if !listed {
			t.Errorf("%s is not listed as it was built", module.Path)
		}
	}
}

func TestRun_needsAProgram(t *testing.T) {
	for name, args := range map[string][]string{"nothing": nil, "two": {"a", "b"}, "no program": {"main.go"}} {
		if run(args, &bytes.Buffer{}) == nil {
			t.Errorf("%s has a bill", name)
		}
	}
}
