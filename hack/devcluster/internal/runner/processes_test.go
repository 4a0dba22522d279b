package runner

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// One set for all: processes waits for every child of the test.
func TestProcesses_tellsEndsAndStops(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p := newProcesses()
	if err := p.run("true", []string{"true"}, log); err != nil {
		t.Error(err)
	}
	if err := p.run("false", []string{"sh", "-c", "echo because >&2; exit 3"}, log); err == nil || !strings.Contains(err.Error(), "exited with code 3") {
		t.Errorf("error of a process that fails: %v", err)
	}
	if got := lastLine(log); got != "because" {
		t.Errorf("last line of the log is %q", got)
	}
	if err := p.run("nothing", []string{"/does/not/exist"}, log); err == nil {
		t.Error("started what is not there")
	}
	ended := make(chan exit, 1)
	if err := p.start("sleep", []string{"sleep", "60"}, log, ended); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { p.stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("stop does not return")
	}
}
