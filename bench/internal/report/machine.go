package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Machine is where and when something was measured.
type Machine struct {
	processor, kernel string
	cores             int
	began             time.Time
	loadBefore        string
}

// ThisMachine is this machine now. What it cannot find out it says.
func ThisMachine() Machine {
	return Machine{
		processor: field("/proc/cpuinfo", "model name"), kernel: strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		cores: runtime.NumCPU(), began: time.Now(), loadBefore: load(),
	}
}

// String is a paragraph about the machine, and the load until now.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores of %s, Linux %s, %s. Load average over a minute: %s before, %s after (the measurement included).",
		m.began.UTC().Format("2006-01-02 15:04 UTC"), m.cores, m.processor, m.kernel, runtime.Version(), m.loadBefore, load())
}

func load() string { return strings.Split(read("/proc/loadavg"), " ")[0] }

func field(file, name string) string {
	for line := range strings.Lines(read(file)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func read(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	return string(content)
}
