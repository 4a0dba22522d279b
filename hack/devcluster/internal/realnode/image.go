package realnode

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// The images that every real node has. There is no registry: pods need imagePullPolicy IfNotPresent, which
// is the default for every tag but latest.
var (
	busyboxTags = []string{"docker.io/library/busybox:latest", "docker.io/library/busybox:1", "grantry.dev/busybox:dev"}
	pauseTags   = []string{"grantry.dev/pause:dev"}
)

// writeImages makes an archive, in the form of `docker save`, of an image with busybox and one for the pods'
// sandboxes, from the machine's static busybox.
func writeImages(file, busybox string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's commands: %w", err)
	}
	layer, err := busyboxLayer(program, strings.Fields(string(list)))
	if err != nil {
		return err
	}
	archive, err := imageArchive(layer, []image{
		{tags: busyboxTags, command: []string{"sh"}},
		// A sandbox's process only has to live; containerd kills it.
		{tags: pauseTags, command: []string{"/bin/sleep", "2147483647"}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, archive, 0o600)
}

type image struct {
	tags    []string
	command []string
}

func imageArchive(layer []byte, images []image) ([]byte, error) {
	archive := newTar()
	archive.file("layer.tar", 0o644, layer)
	var manifest []map[string]any
	for i, image := range images {
		config, err := json.Marshal(map[string]any{
			"architecture": runtime.GOARCH,
			"os":           "linux",
			"config": map[string]any{
				"Cmd": image.command,
				"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			},
			"rootfs": map[string]any{
				"type":     "layers",
				"diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))},
			},
		})
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("config-%d.json", i)
		archive.file(name, 0o644, config)
		manifest = append(manifest, map[string]any{"Config": name, "RepoTags": image.tags, "Layers": []string{"layer.tar"}})
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	archive.file("manifest.json", 0o644, data)
	return archive.bytes()
}

func busyboxLayer(program []byte, commands []string) ([]byte, error) {
	layer := newTar()
	for _, dir := range []string{"bin", "etc", "root", "usr", "usr/bin", "var", "var/tmp", "home"} {
		layer.dir(dir, 0o755)
	}
	layer.dir("tmp", 0o1777)
	layer.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	layer.file("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	layer.file("bin/busybox", 0o755, program)
	for _, command := range commands {
		if command != "busybox" {
			layer.symlink("bin/"+command, "busybox")
		}
	}
	layer.symlink("usr/bin/env", "/bin/busybox")
	return layer.bytes()
}

// tarball keeps the first error, so that its callers can list what goes in.
type tarball struct {
	buffer bytes.Buffer
	writer *tar.Writer
	err    error
}

func newTar() *tarball {
	t := &tarball{}
	t.writer = tar.NewWriter(&t.buffer)
	return t
}

func (t *tarball) dir(name string, mode int64) {
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (t *tarball) file(name string, mode int64, data []byte) {
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, data)
}

func (t *tarball) symlink(name, target string) {
	t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (t *tarball) add(header *tar.Header, data []byte) {
	if t.err != nil {
		return
	}
	header.ModTime = time.Unix(0, 0) // the same content has the same digest
	if t.err = t.writer.WriteHeader(header); t.err == nil {
		_, t.err = t.writer.Write(data)
	}
}

func (t *tarball) bytes() ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	err := t.writer.Close()
	return t.buffer.Bytes(), err
}
