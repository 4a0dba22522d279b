//go:build e2e

package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/grantry/grantry/test/harness"
)

// clockVariable names, to an operator that buildJumping has built, the file that says by how many seconds its clock is
// wrong.
const clockVariable = "GRANTRY_CHAOS_CLOCK"

// Go reads the clock without the C library, and a process can't have a wall clock of its own in any other way than by
// another standard library: one whose time.Now adds a number of seconds. The monotonic clock stays as it is, as when
// somebody sets the machine's clock.
const (
	jumpInTime = `package time

import "sync/atomic"

var jumped atomic.Int64

// Jump sets this process' wall clock wrong by so many seconds.
func Jump(seconds int64) { jumped.Store(seconds) }
`
	jumpInMain = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	go func() {
		for {
			text, _ := os.ReadFile(os.Getenv("` + clockVariable + `"))
			seconds, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			time.Jump(seconds)
			time.Sleep(100 * time.Millisecond)
		}
	}()
}
`
	readsTheClock = "\tsec, nsec, mono := runtimeNow()\n"
)

// clock is the operators' own.
type clock struct{ program, file string }

// newClock builds an operator whose clock can be set wrong. The first time that takes minutes: everything depends on
// package time.
func newClock(t *testing.T) *clock {
	t.Helper()
	c := &clock{file: filepath.Join(t.TempDir(), "seconds")}
	c.jump(t, 0)
	t.Setenv(clockVariable, c.file)
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	text, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	before, now, found := strings.Cut(string(text), "\nfunc Now() Time {\n")
	if !found || !strings.HasPrefix(now, readsTheClock) {
		t.Fatalf("time.Now of %s reads the clock in another way", runtime.Version())
	}
	now = readsTheClock + "\tsec += jumped.Load()\n" + strings.TrimPrefix(now, readsTheClock)
	dir := t.TempDir()
	replace := map[string]string{}
	for path, content := range map[string]string{
		filepath.Join(library, "time.go"):    before + "\nfunc Now() Time {\n" + now,
		filepath.Join(library, "zz_jump.go"): jumpInTime,
		filepath.Join(root, "zz_jump.go"):    jumpInMain,
	} {
		file := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	c.program = filepath.Join(dir, "grantry")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay="+overlayFile, "-o", c.program, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build an operator with a clock of its own: %v: %s", err, out)
	}
	return c
}

// jump sets every operator's clock wrong, within a tenth of a second.
func (c *clock) jump(t *testing.T, by time.Duration) {
	t.Helper()
	if err := os.WriteFile(c.file, fmt.Append(nil, int64(by.Seconds())), 0o600); err != nil {
		t.Fatal(err)
	}
}

// jumping has all replicas run with a clock that goes two hours ahead, then back by four, and then is right again.
func jumping(t *testing.T, s *site) func() {
	t.Helper()
	for _, r := range s.replicas {
		r.become(s.clock.program)
	}
	s.eventually(t, waitFor, "every replica is ready, with its own clock", func() bool { return s.allReady() && s.leader() != nil })
	s.clock.jump(t, 2*time.Hour)
	return func() {
		s.clock.jump(t, -2*time.Hour)
		time.Sleep(10 * time.Second)
		s.clock.jump(t, 0)
	}
}
