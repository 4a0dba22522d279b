package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What the Dockerfile says, too: TestDockerfile_saysTheSame compares them.
var (
	buildFlags = []string{"-trimpath", "-buildvcs=false"}
	entrypoint = []string{"/grantry"}
	command    = []string{"manager"}
)

// origin is what an image says that it was built from.
type origin struct{ version, revision string }

// linkFlags make a program that says its origin, and nothing else that differs between two builds of it.
func (o origin) linkFlags() string {
	const variables = "github.com/prometheus/common/version"
	return fmt.Sprintf("-ldflags=-s -w -buildid= -X %s.Version=%s -X %[1]s.Revision=%[3]s", variables, o.version, o.revision)
}

// labels are what registries and scanners show of an image.
func (o origin) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "grantry",
		"org.opencontainers.image.description": "DC/OS-style permissions for jobs on Kubernetes",
		"org.opencontainers.image.source":      "https://github.com/grantry/grantry",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.revision":    o.revision,
	}
}

// user is a number: the image has no user database, and the kubelet can check runAsNonRoot.
const user = "65532:65532"

// epoch is the time of everything in the image: the same content has the same digest.
var epoch = time.Unix(0, 0).UTC()

// build compiles the operator in a directory and makes an image of it.
func build(ctx context.Context, source string, from origin, platform *v1.Platform) (v1.Image, error) {
	program, err := compile(ctx, source, from, platform)
	if err != nil {
		return nil, err
	}
	return assemble(program, from, platform)
}

// compile returns the operator's program. Nothing of the user's environment changes it but the version of Go.
func compile(ctx context.Context, source string, from origin, platform *v1.Platform) ([]byte, error) {
	directory, err := os.MkdirTemp("", "grantry-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	program := filepath.Join(directory, "grantry")
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, buildFlags, []string{from.linkFlags(), "-o", program, "."})...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture,
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the operator: %w: %s", err, out)
	}
	return os.ReadFile(program)
}

// assemble puts a program, and nothing else, into an image.
func assemble(program []byte, from origin, platform *v1.Platform) (v1.Image, error) {
	files, err := archive(program)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("make the layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/image"}})
	if err != nil {
		return nil, fmt.Errorf("add the layer: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.OS, config.Architecture = platform.OS, platform.Architecture
	config.Config = v1.Config{User: user, Entrypoint: entrypoint, Cmd: command, WorkingDir: "/", Labels: from.labels()}
	return mutate.ConfigFile(image, config)
}

// archive is a tar with the program at /grantry.
func archive(program []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: "grantry", Mode: 0o755, Size: int64(len(program)), ModTime: epoch, Format: tar.FormatUSTAR}
	if err := writer.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := writer.Write(program); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
