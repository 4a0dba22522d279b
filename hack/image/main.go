// Command image builds Grantry's container image with nothing but Go: no Docker, no registry, no base image. Two
// builds of one commit with one version of Go have the same digest. It prints the image's digest.
//
//	go run -C hack/image . --tag grantry/grantry:dev --output FILE
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// plain is what a revision may be: the linker takes a space for the end of it.
var plain = regexp.MustCompile(`^[-0-9A-Za-z]+$`)

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	tag := flags.String("tag", "grantry/grantry:dev", "name of the image in the archive; its tag is the program's version")
	revision := flags.String("revision", "unknown", "commit that the program says it was built from")
	platform := flags.String("platform", "linux/amd64", "operating system and architecture")
	source := flags.String("source", filepath.Join("..", ".."), "directory of the repository")
	output := flags.String("output", "", "archive to write, in the form of `docker save`: docker load, ctr images import and devcluster load-image read it")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *output == "" || flags.NArg() > 0 {
		return fmt.Errorf("want --output FILE and no arguments, got %q", arguments)
	}
	reference, err := name.NewTag(*tag)
	if err != nil {
		return fmt.Errorf("--tag: %w", err)
	}
	target, err := v1.ParsePlatform(*platform)
	if err != nil {
		return fmt.Errorf("--platform: %w", err)
	}
	if !plain.MatchString(*revision) {
		return fmt.Errorf("--revision: %q holds more than letters, digits and hyphens: give the commit's hash", *revision)
	}
	image, err := build(ctx, *source, origin{version: reference.TagStr(), revision: *revision}, target)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*output), 0o755); err != nil {
		return err
	}
	if err := tarball.WriteToFile(*output, reference, image); err != nil {
		return fmt.Errorf("write %s: %w", *output, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}
