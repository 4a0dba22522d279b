package drill

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// section is what the runbook says of an alert: its beginning, which is for every alert, and the alert's part.
type section struct {
	text     string
	commands []string // of its sh blocks
	queries  []string // of its promql blocks
}

// sign is what the runbook shows because of a fault, and does not show without it.
type sign struct {
	// command is a part of the command or query that shows it, and of no other of the section.
	command string
	// shows matches what that prints.
	shows *regexp.Regexp
	// says is in the runbook, which tells by it what that means.
	says string
}

// shown is a command or query, and what it printed.
type shown struct{ command, output string }

// in reports whether the sign is on a screen: in what its own command printed.
func (s sign) in(screen []shown) bool {
	return slices.ContainsFunc(screen, func(on shown) bool {
		return strings.Contains(on.command, s.command) && s.shows.MatchString(on.output)
	})
}

// text is a screen as a terminal would show it.
func text(screen []shown) string {
	var all strings.Builder
	for _, on := range screen {
		fmt.Fprintf(&all, "$ %s\n%s\n", on.command, on.output)
	}
	return all.String()
}

// runbookPath is from the repository's root.
const runbookPath = "docs/operations/runbook.md"

// runbook reads what it says of an alert.
func runbook(t *testing.T, page, alert string) section {
	t.Helper()
	begin, rest, _ := strings.Cut(page, "\n## ")
	_, part, found := strings.Cut("\n## "+rest, "\n## "+alert+"\n")
	if !found {
		t.Fatalf("the runbook has no part for %s", alert)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	s := section{text: begin + "\n" + part}
	language := ""
	for line := range strings.Lines(s.text) {
		line = strings.TrimSpace(line)
		switch rest, fence := strings.CutPrefix(line, "```"); {
		case fence:
			language = rest
		case language == "sh":
			s.commands = append(s.commands, line)
		case language == "promql":
			s.queries = append(s.queries, line)
		}
	}
	return s
}

// commandLimit is how long one of the runbook's commands may take. One that nobody answers is ended, as somebody who is
// awake would.
const commandLimit = 40 * time.Second

// run runs a command as it stands in the runbook. It may fail: what it prints then may be what the runbook is about.
func run(ctx context.Context, environment []string, command string) string {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Env = append(os.Environ(), environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // what it started, too
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)\n", out, err)
	}
	return string(out)
}

// shipped are the alerts of config/monitoring, with the addresses of their parts of the runbook.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("../../config/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert       string
					Annotations map[string]string
				}
			}
		}
	}
	if err := yaml.Unmarshal(content, &object); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, group := range object.Spec.Groups {
		for _, rule := range group.Rules {
			found[rule.Alert] = rule.Annotations["runbook_url"]
		}
	}
	return found
}

// TestFaults_areInTheRunbook: each alert has a fault that the drill injects, and the runbook has what the drill looks for:
// the commands, what they show, and what to do.
func TestFaults_areInTheRunbook(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../" + runbookPath)
	if err != nil {
		t.Fatal(err)
	}
	for alert, address := range shipped(t) {
		if !slices.ContainsFunc(faults, func(f fault) bool { return f.alert == alert }) {
			t.Errorf("no fault is injected for %s", alert)
		}
		if !strings.HasSuffix(address, "runbook.md#"+strings.ToLower(alert)) {
			t.Errorf("%s: the runbook has no part at %s", alert, address)
		}
	}
	for _, f := range faults {
		part := runbook(t, string(content), f.alert)
		if len(f.signs) == 0 {
			t.Errorf("%s: nothing shows that %s", f.alert, f.what)
		}
		for _, s := range f.signs {
			of := slices.Concat(part.commands, part.queries)
			of = slices.DeleteFunc(of, func(command string) bool { return !strings.Contains(command, s.command) })
			if len(of) != 1 || !strings.Contains(part.text, s.says) {
				t.Errorf("%s: %q is in the commands %q, and should be in one; the runbook should say what %q means", f.alert, s.command, of, s.says)
			}
		}
		for _, command := range f.cure {
			if !strings.Contains(part.text, command) {
				t.Errorf("%s: the runbook does not say %q", f.alert, command)
			}
		}
	}
}

// TestSign_isInWhatItsCommandPrints, and neither in the command, nor in what another one prints.
func TestSign_isInWhatItsCommandPrints(t *testing.T) {
	t.Parallel()
	wanted := sign{command: "first", shows: regexp.MustCompile("exceeded quota")}
	for name, tc := range map[string]struct {
		commands []string
		want     bool
	}{
		"its command prints it":   {commands: []string{"echo exceeded quota # first"}, want: true},
		"it is only asked for":    {commands: []string{"true # first exceeded quota"}},
		"another one prints it":   {commands: []string{"true # first", "echo exceeded quota"}},
		"it is told as a problem": {commands: []string{"echo exceeded quota >&2; false # first"}, want: true},
	} {
		var screen []shown
		for _, command := range tc.commands {
			screen = append(screen, shown{command, run(t.Context(), nil, command)})
		}
		if got := wanted.in(screen); got != tc.want {
			t.Errorf("%s: %v, want %v, on\n%s", name, got, tc.want, text(screen))
		}
	}
}
