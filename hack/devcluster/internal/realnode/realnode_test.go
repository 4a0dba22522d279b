package realnode

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

func TestParseMount(t *testing.T) {
	for name, tc := range map[string]struct {
		line      string
		want      mount
		wantError bool
	}{
		"cgroup":       {line: "31 25 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu", want: mount{"/sys/fs/cgroup/cpu", "cgroup"}},
		"a blank":      {line: `40 1 8:1 / /mnt/a\040b\134c rw - ext4 /dev/sda rw`, want: mount{`/mnt/a b\c`, "ext4"}},
		"no separator": {line: "31 25 0:27 / /sys rw", wantError: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseMount(tc.line)
			if (err != nil) != tc.wantError || (err == nil && got != tc.want) {
				t.Errorf("parseMount = %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestCgroupRoots_bothVersions(t *testing.T) {
	mounts := []mount{{"/sys/fs/cgroup/unified", "cgroup2"}, {"/sys/fs/cgroup/cpu", "cgroup"}, {"/", "ext4"}}
	if got := cgroupRoots(mounts); !slices.Equal(got, []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu"}) {
		t.Errorf("roots %v", got)
	}
}

func TestImageArchive_manifestNamesWhatIsThere(t *testing.T) {
	layer, err := busyboxLayer([]byte("program"), []string{"busybox", "sh", "sleep"})
	if err != nil {
		t.Fatal(err)
	}
	if files := untar(t, layer); string(files["bin/busybox"]) != "program" || files["bin/sh"] == nil || files["tmp/"] == nil {
		t.Errorf("layer has %v", names(files))
	}
	archive, err := imageArchive(layer, []image{{tags: []string{"a:1", "b:2"}}, {tags: []string{"c:3"}}})
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, archive)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 2 {
		t.Fatalf("manifest %+v", manifest)
	}
	for _, entry := range manifest {
		if files[entry.Config] == nil || len(entry.Layers) != 1 || files[entry.Layers[0]] == nil {
			t.Errorf("%v names files that are not among %v", entry, names(files))
		}
	}
}

func TestRender_configsAreComplete(t *testing.T) {
	c := &cluster.Cluster{Settings: cluster.Settings{RealNodes: 2}, Dir: t.TempDir(), CNIBinaries: "/cni", Subnet: 160}
	second := c.RealNodeList()[1]
	for name, want := range map[string]string{
		"containerd.toml": `bin_dirs = ["/cni"]`,
		"kubelet.yaml":    "address: 10.160.0.2",
		"cni.conflist":    `"subnet": "10.160.0.0/24"`,
	} {
		file := c.Path(name)
		if err := render(second, name, file); err != nil {
			t.Error(err)
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", name, want)
		}
	}
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for reader := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = append([]byte{}, content...)
	}
}

func names(files map[string][]byte) []string {
	var all []string
	for name := range files {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
