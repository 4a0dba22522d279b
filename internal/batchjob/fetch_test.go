package batchjob_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/testing/archive"
)

// A file "packed" with the text "packed\n" in a tar, by bzip2 and xz: Go reads the one and not the other,
// and writes neither.
const (
	tarBzip2 = "QlpoOTFBWSZTWQc3pOkAAHL7gMmQAAhAAGWAABBuCF4ACAggAFQlKYgaNME9I9BJTKMmhkAMl+JjIQSwQhGnmMiubxQIgE2NXSarCNnQm/jR/jnCn1xTBgVtWZukRAyLuSKcKEgDm9J0gA=="
	tarXz    = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Cf/AFtdADgYSJnNXBtXPNnDuJpEflor5nxcUt7de1fofTNRuk9maxBmj5W9TXmec/g5PUmtTEuPP5x3CzD0lHqhK3qEtErK5VNcBIbAnqDsjTuqFoHKCcGLnswRJew3PoAAAC8cRIi53VguAAF3gFAAAACUVpmvscRn+wIAAAAABFla"
)

// toolset is a PATH in which the script runs, and what it can unpack.
type toolset struct {
	name, shell, path string
	acts              map[string]bool
}

// toolsets are busybox alone, and the machine's own programs. At least one is there, or the test is skipped;
// in CI it fails.
func toolsets(t *testing.T) []toolset {
	t.Helper()
	var sets []toolset
	if busybox, err := exec.LookPath("busybox"); err == nil {
		dir := t.TempDir()
		set := toolset{name: "busybox", shell: filepath.Join(dir, "sh"), path: dir, acts: map[string]bool{}}
		applets, err := exec.CommandContext(t.Context(), busybox, "--list").Output()
		if err != nil {
			t.Fatal(err)
		}
		for applet := range strings.FieldsSeq(string(applets)) {
			if err := os.Symlink(busybox, filepath.Join(dir, applet)); err != nil {
				t.Fatal(err)
			}
			set.acts[applet] = true
		}
		sets = append(sets, set)
	}
	set := toolset{name: "system", shell: "/bin/sh", path: os.Getenv("PATH"), acts: map[string]bool{}}
	for _, program := range []string{"wget", "tar", "gunzip", "bunzip2", "xz", "unzip"} {
		if _, err := exec.LookPath(program); err == nil {
			set.acts[program] = true
		}
	}
	if set.acts["wget"] && set.acts["tar"] {
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("neither busybox nor wget and tar are installed")
		}
		t.Skip("neither busybox nor wget and tar are installed")
	}
	return sets
}

// fetch runs the init container of a run with artifacts, in a directory of its own.
func (s toolset) fetch(t *testing.T, artifacts ...v1alpha1.Artifact) (dir, output string, err error) {
	t.Helper()
	in := withSpec(t, `run: {cmd: ls}`)
	in.Job.Spec.Run.Artifacts = artifacts
	child, err := batchjob.Child(in)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	var args []string
	for _, arg := range child.Spec.Template.Spec.InitContainers[0].Command[1:] {
		args = append(args, expand(arg))
	}
	command := exec.CommandContext(t.Context(), s.shell, args...)
	command.Dir = t.TempDir()
	command.Env = []string{"PATH=" + s.path, "MESOS_SANDBOX=" + dir}
	out, err := command.CombinedOutput()
	return dir, string(out), err
}

func TestFetch(t *testing.T) {
	t.Parallel()
	hostile := `x'; touch pwned; $(touch pwned) "y`
	files := map[string][]byte{
		"/plain.txt":        []byte("plain\n"),
		"/tool":             []byte("#!/bin/sh\necho works\n"),
		"/a.tar":            archive.Tar(t, "packed", "packed\n"),
		"/b.tar.gz":         archive.Gzip(t, archive.Tar(t, "packed-gz", "packed\n")),
		"/c.tgz":            archive.Gzip(t, archive.Tar(t, "dir/packed-tgz", "packed\n")),
		"/d.tar.bz2":        decoded(t, tarBzip2),
		"/e.tar.xz":         decoded(t, tarXz),
		"/f.zip":            archive.Zip(t, "packed-zip", "packed\n"),
		"/g.txt.gz":         archive.Gzip(t, []byte("packed\n")),
		"/not-unpacked.zip": []byte("not a zip file"),
		"/" + hostile:       []byte("plain\n"),
		"/broken.tar.gz":    []byte("not an archive"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, found := files[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content)
	}))
	defer server.Close()

	cases := map[string]struct {
		artifact v1alpha1.Artifact
		needs    string
		// want is the file that is looked at, and text what is in it.
		want, text string
	}{
		"a plain file":                    {v1alpha1.Artifact{URI: "/plain.txt"}, "wget", "plain.txt", "plain\n"},
		"a query is not part of the name": {v1alpha1.Artifact{URI: "/plain.txt?a=$(touch%20pwned)&b=/c"}, "wget", "plain.txt", "plain\n"},
		"a name that a shell would run":   {v1alpha1.Artifact{URI: "/x'%3B%20touch%20pwned%3B%20$(touch%20pwned)%20%22y"}, "wget", hostile, "plain\n"},
		"tar":                             {v1alpha1.Artifact{URI: "/a.tar"}, "tar", "packed", "packed\n"},
		"tar.gz":                          {v1alpha1.Artifact{URI: "/b.tar.gz"}, "gunzip", "packed-gz", "packed\n"},
		"tgz":                             {v1alpha1.Artifact{URI: "/c.tgz", Extract: new(true)}, "gunzip", "dir/packed-tgz", "packed\n"},
		"tar.bz2":                         {v1alpha1.Artifact{URI: "/d.tar.bz2"}, "bunzip2", "packed", "packed\n"},
		"tar.xz":                          {v1alpha1.Artifact{URI: "/e.tar.xz"}, "xz", "packed", "packed\n"},
		"zip":                             {v1alpha1.Artifact{URI: "/f.zip"}, "unzip", "packed-zip", "packed\n"},
		"gz":                              {v1alpha1.Artifact{URI: "/g.txt.gz"}, "gunzip", "g.txt", "packed\n"},
		"the archive is kept":             {v1alpha1.Artifact{URI: "/a.tar"}, "tar", "a.tar", string(files["/a.tar"])},
		"not to be unpacked":              {v1alpha1.Artifact{URI: "/not-unpacked.zip", Extract: new(false)}, "wget", "not-unpacked.zip", "not a zip file"},
		"an executable is not unpacked":   {v1alpha1.Artifact{URI: "/not-unpacked.zip", Executable: new(true)}, "wget", "not-unpacked.zip", "not a zip file"},
	}
	for _, set := range toolsets(t) {
		for name, tc := range cases {
			t.Run(set.name+"/"+name, func(t *testing.T) {
				if !set.acts[tc.needs] {
					t.Skipf("there is no %s", tc.needs)
				}
				tc.artifact.URI = server.URL + tc.artifact.URI
				dir, output, err := set.fetch(t, tc.artifact)
				if err != nil {
					t.Fatalf("%v: %s", err, output)
				}
				got, err := os.ReadFile(filepath.Join(dir, tc.want))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.text, string(got)); diff != "" {
					t.Errorf("content (-want +got):\n%s", diff)
				}
				checkFetched(t, dir)
			})
		}
		t.Run(set.name+"/an executable works", func(t *testing.T) {
			dir, output, err := set.fetch(t, v1alpha1.Artifact{URI: server.URL + "/plain.txt"}, v1alpha1.Artifact{URI: server.URL + "/tool", Executable: new(true)})
			if err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			if strings.Contains(output, server.URL) {
				t.Errorf("the log has the address, in which there may be a password: %s", output)
			}
			got, err := exec.CommandContext(t.Context(), filepath.Join(dir, "tool")).Output()
			if err != nil || string(got) != "works\n" {
				t.Errorf("got %q, %v", got, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "plain.txt")); err != nil || info.Mode().Perm()&0o111 != 0 {
				t.Errorf("a plain file is executable: %v, %v", info, err)
			}
		})
		for name, file := range map[string]string{"no such file": "/none", "a broken archive": "/broken.tar.gz"} {
			t.Run(set.name+"/"+name, func(t *testing.T) {
				_, output, err := set.fetch(t, v1alpha1.Artifact{URI: server.URL + file})
				if err == nil {
					t.Errorf("the run goes on without the file: %s", output)
				}
			})
		}
	}
}

// checkFetched checks that nothing ran that should not, and that any user can work with what is there.
func checkFetched(t *testing.T, dir string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case filepath.Base(path) == "pwned":
			return fmt.Errorf("an address was run by the shell")
		case path != dir && info.IsDir() && info.Mode().Perm() != 0o777, info.Mode().IsRegular() && info.Mode().Perm()&0o666 != 0o666:
			return fmt.Errorf("%s has mode %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func decoded(t *testing.T, s string) []byte {
	t.Helper()
	content, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
