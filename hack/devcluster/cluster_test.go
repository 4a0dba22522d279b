//go:build cluster

package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// build compiles the program, which keeps its state apart from that of others until the test ends.
func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "devcluster")
	run(t, "go", "build", "-o", program, ".")
	state, err := os.MkdirTemp("", "dc") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	t.Setenv("GRANTRY_STATE", state)
	return program
}

// TestIntegration starts a cluster, runs a pod, kills the supervisor and looks for what is left. It needs what
// --nodes=auto needs, and takes as long as a first build if nothing is cached.
func TestIntegration(t *testing.T) {
	program := build(t)
	linksBefore := links(t)

	run(t, program, "up", "--name", "test")
	t.Cleanup(func() { run(t, program, "down", "--name", "test") }) // twice: it is idempotent
	if out, err := exec.Command(program, "up", "--name", "test").CombinedOutput(); err == nil || !strings.Contains(string(out), "already running") {
		t.Errorf("a second up: %v\n%s", err, out)
	}
	var status []struct {
		Nodes, Kubectl string
		Kubeconfigs    map[string]string
		SupervisorPID  int
	}
	if err := json.Unmarshal(run(t, program, "status", "--name", "test", "--output", "json"), &status); err != nil {
		t.Fatal(err)
	}
	cluster := status[0]
	t.Logf("nodes: %s", cluster.Nodes)
	kubectl := func(arguments ...string) string {
		return string(run(t, cluster.Kubectl, append([]string{"--kubeconfig", cluster.Kubeconfigs["admin"]}, arguments...)...))
	}
	kubectl("run", "web", "--image=busybox:1", "--", "sh", "-c", "echo hello; sleep 3600")
	kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	if cluster.Nodes == "real" {
		if logs := kubectl("logs", "web"); logs != "hello\n" {
			t.Errorf("logs of the pod: %q", logs)
		}
		if output := kubectl("exec", "web", "--", "echo", "inside"); output != "inside\n" {
			t.Errorf("exec in the pod: %q", output)
		}
		keepsItsAddress(t, linksBefore)
	}

	if err := syscall.Kill(cluster.SupervisorPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(os.Getenv("GRANTRY_STATE"), "devcluster", "test")
	var left []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if left = leftovers(t, directory, linksBefore); len(left) == 0 {
			break
		}
	}
	for _, what := range left {
		t.Errorf("left after the supervisor was killed: %s", what)
	}
	run(t, program, "down", "--name", "test")
	if _, err := os.Stat(filepath.Dir(directory)); err == nil {
		t.Errorf("down left something in %s", filepath.Dir(directory))
	}
}

// keepsItsAddress wants the cluster's bridge to have the same hardware address when it gets a port with a lower one, which
// some pod's may be: the other pods would send to the old one.
func keepsItsAddress(t *testing.T, linksBefore map[string]bool) {
	t.Helper()
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(l netlink.Link) bool { return l.Type() == "bridge" && !linksBefore[l.Attrs().Name] })
	if i < 0 {
		t.Fatal("the cluster has no bridge")
	}
	before := all[i]
	port := &netlink.Veth{PeerName: "gt-other-end", LinkAttrs: netlink.LinkAttrs{
		Name: "gt-lowest", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MasterIndex: before.Attrs().Index,
	}}
	if err := netlink.LinkAdd(port); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netlink.LinkDel(port); err != nil {
			t.Error(err)
		}
	}()
	after, err := netlink.LinkByIndex(before.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	if was, is := before.Attrs().HardwareAddr, after.Attrs().HardwareAddr; !bytes.Equal(was, is) {
		t.Errorf("the bridge had the hardware address %s, and with another port %s", was, is)
	}
}

func run(t *testing.T, program string, arguments ...string) []byte {
	t.Helper()
	command := exec.Command(program, arguments...)
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", filepath.Base(program), arguments, err, output, stderr.String())
	}
	return output
}

// leftovers are processes and mounts that name the directory, network interfaces and cgroups.
func leftovers(t *testing.T, directory string, linksBefore map[string]bool) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/mountinfo"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err == nil && strings.Contains(string(data), directory) {
				left = append(left, file)
			}
		}
	}
	for link := range links(t) {
		if !linksBefore[link] {
			left = append(left, "network interface "+link)
			cgroups, err := filepath.Glob("/sys/fs/cgroup/*/" + link)
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, cgroups...)
		}
	}
	return left
}

func links(t *testing.T) map[string]bool {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, one := range interfaces {
		names[one.Name] = true
	}
	return names
}
