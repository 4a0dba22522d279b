// Command sbom writes the software bill of materials of a Go program, in CycloneDX's JSON: what the linker put into the
// program itself is listed, and nothing that was only looked at on the way. The same program gives the same bytes.
//
//	go run . PROGRAM >bom.json
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, to io.Writer) error {
	if len(args) != 1 {
		return errors.New("want the path of a program")
	}
	info, err := buildinfo.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("read the modules of %s: %w", args[0], err)
	}
	bom, err := billOf(info)
	if err != nil {
		return err
	}
	return cyclonedx.NewBOMEncoder(to, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom)
}

// billOf lists a program's modules and the standard library that it was built with. There is neither a time nor a serial
// number in it.
func billOf(info *buildinfo.BuildInfo) (*cyclonedx.BOM, error) {
	subject := component(cyclonedx.ComponentTypeApplication, info.Main.Path, info.Main.Version)
	library := component(cyclonedx.ComponentTypeLibrary, "std", strings.TrimPrefix(info.GoVersion, "go"))
	components, needs := []cyclonedx.Component{library}, []string{library.BOMRef}
	for _, module := range info.Deps {
		c, err := moduleOf(module)
		if err != nil {
			return nil, err
		}
		components, needs = append(components, c), append(needs, c.BOMRef)
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &subject}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: subject.BOMRef, Dependencies: &needs}}
	return bom, nil
}

// moduleOf is a module as it was built: what replaces it, if something does.
func moduleOf(module *debug.Module) (cyclonedx.Component, error) {
	if module.Replace != nil {
		module = module.Replace
	}
	c := component(cyclonedx.ComponentTypeLibrary, module.Path, module.Version)
	encoded, known := strings.CutPrefix(module.Sum, "h1:")
	if !known {
		return c, nil // a directory
	}
	sum, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return c, fmt.Errorf("the checksum of %s: %w", module.Path, err)
	}
	c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}} // of the module, as in go.sum
	return c, nil
}

func component(kind cyclonedx.ComponentType, path, version string) cyclonedx.Component {
	if version == "(devel)" { // of the module that the program was built in
		version = ""
	}
	url := "pkg:golang/" + path
	if version != "" {
		url += "@" + strings.ReplaceAll(version, "+", "%2B")
	}
	return cyclonedx.Component{BOMRef: url, Type: kind, Name: path, Version: version, PackageURL: url}
}
