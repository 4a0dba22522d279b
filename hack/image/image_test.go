package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

var (
	root   = filepath.Join("..", "..")
	native = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	tested = origin{version: "test", revision: "0123abcd"}
)

// TestBuild_isReproducible builds the image here, and from what `docker build` would see, in another directory.
func TestBuild_isReproducible(t *testing.T) {
	one, err := build(t.Context(), root, tested, native)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	copyContext(t, directory)
	other, err := build(t.Context(), directory, tested, native)
	if err != nil {
		t.Fatalf("from what .dockerignore lets through: %v", err)
	}
	var digests []string
	for _, image := range []v1.Image{one, other} {
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds of one commit: %s and %s", digests[0], digests[1])
	}
}

// copyContext copies the files that git knows or would take, and .dockerignore lets through.
func copyContext(t *testing.T, to string) {
	t.Helper()
	ignored, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer ignored.Close()
	patterns, err := ignorefile.ReadAll(ignored)
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.SplitSeq(strings.Trim(string(files), "\x00"), "\x00") {
		skip, err := matcher.MatchesOrParentMatches(file)
		if err != nil {
			t.Fatal(err)
		}
		if skip {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and git has not been told
		}
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(to, file)), 0o755), os.WriteFile(filepath.Join(to, file), data, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRun_writesAnImageThatHoldsOneStaticProgram reads back the archive that is loaded into a node.
func TestRun_writesAnImageThatHoldsOneStaticProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := run(t.Context(), []string{"--tag", "example.com/grantry:test", "--revision", tested.revision, "--platform", "linux/" + runtime.GOARCH, "--output", file}); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.com/grantry:test")
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(config.Config.Labels, tested.labels()) || config.Config.User != user || config.OS != "linux" || config.Architecture != runtime.GOARCH || !config.Created.Time.Equal(epoch) {
		t.Errorf("configuration %+v of %s/%s, created %s", config.Config, config.OS, config.Architecture, config.Created)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v; want 1", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	reader := tar.NewReader(content)
	header, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "grantry" || header.Mode != 0o755 || header.Uid != 0 || !header.ModTime.Equal(epoch) {
		t.Errorf("the layer begins with %+v", header)
	}
	program, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the layer holds more than the program: %v", err)
	}
	isStatic(t, program)
	saysItsOrigin(t, program)
}

// saysItsOrigin: an operator learns from a replica what it was built from.
func saysItsOrigin(t *testing.T, program []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "grantry")
	if err := os.WriteFile(file, program, 0o700); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), file, "--version").CombinedOutput()
	want := "grantry version test (revision 0123abcd, go"
	if err != nil || !strings.HasPrefix(string(said), want) {
		t.Errorf("--version says %q, %v; want %q", said, err, want)
	}
}

func isStatic(t *testing.T, program []byte) {
	t.Helper()
	parsed, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parsed.Progs {
		if part.Type == elf.PT_INTERP {
			t.Error("the program is not static: it asks for an interpreter, and the image has none")
		}
	}
}

func TestDockerfile_saysTheSame(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	list := func(words []string) string {
		text, err := json.Marshal(words)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	arguments := origin{version: "$VERSION", revision: "$REVISION"}
	wants := []string{
		"\nUSER " + user + "\n",
		"\nENTRYPOINT " + list(entrypoint) + "\n",
		"\nCMD " + list(command) + "\n",
		"go build " + strings.Join(buildFlags, " ") + ` "` + arguments.linkFlags() + `" -o `,
	}
	for label, value := range arguments.labels() {
		wants = append(wants, fmt.Sprintf("%s=%q", label, value))
	}
	for _, want := range wants {
		if !strings.Contains(string(data), want) {
			t.Errorf("the Dockerfile does not say %q", want)
		}
	}
}

func TestRun_refuses(t *testing.T) {
	for name, arguments := range map[string][]string{
		"no output":    nil,
		"a bad tag":    {"--output", "x", "--tag", "UPPER"},
		"an argument":  {"--output", "x", "more"},
		"no such flag": {"--latest"},
		"a bad commit": {"--output", "x", "--revision", "1 -X main.x=y"},
	} {
		if err := run(t.Context(), arguments); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
