//go:build e2e

package drill

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDrill goes through the faults, one after the other: those whose alert or description $ALERT matches.
func TestDrill(t *testing.T) {
	wanted, err := regexp.Compile(os.Getenv("ALERT"))
	if err != nil {
		t.Fatal(err)
	}
	chosen := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !wanted.MatchString(f.alert + ": " + f.what) })
	if len(chosen) == 0 {
		t.Fatalf("no fault matches ALERT=%s", wanted)
	}
	s := up(t)
	board := s.dashboard(t)
	var rows report
	for _, f := range chosen {
		t.Run(f.alert, func(t *testing.T) { rows = append(rows, s.drill(t, f, board)) })
	}
	t.Logf("the time of the rules is divided by %d\n%s", faster, rows.text())
	if len(chosen) < len(faults) {
		t.Logf("only some faults were injected, so that not every query of the dashboard need give something: not yet %q", board.empty)
		return
	}
	if len(board.empty) > 0 {
		t.Errorf("these queries of the dashboard never gave anything: %q", board.empty)
	}
	if file := os.Getenv("DRILL_REPORT"); file != "" && !t.Failed() {
		if err := rows.write(file); err != nil {
			t.Error(err)
		}
	}
}

// drill injects a fault, finds its cause by the runbook, mends it as that says, and returns a row of the report.
func (s *site) drill(t *testing.T, f fault, board *dashboard) row {
	t.Helper()
	eventually(t, "nothing fires before "+f.alert, func() error {
		if fires := s.firing(t.Context()); fires == nil || len(fires) > 0 {
			return fmt.Errorf("%q fire", slices.Sorted(maps.Keys(fires)))
		}
		return nil
	})
	content, err := os.ReadFile(runbookPath)
	if err != nil {
		t.Fatal(err)
	}
	part := runbook(t, string(content), f.alert)
	s.withoutFault(t, f, part)

	before := s.replicas(t)
	t.Logf("the fault: %s", f.what)
	begun := time.Now()
	mend, once := f.inject(t, s), sync.Once{}
	undo := func() { once.Do(mend) } // where it ends the test, sync.OnceFunc would panic the second time
	defer undo()                     // whatever becomes of the rest
	met, others := s.wake(t, f, begun, board)
	r := row{fault: f, fired: time.Since(begun), others: others}
	address, _, _ := strings.Cut(met.Labels["instance"], ":")
	pod := named(s.replicasNow(t, before), address)
	s.diagnose(t, f, part, pod)
	board.look(t)

	undo()
	begun = time.Now()
	for _, command := range f.cure {
		t.Logf("$ %s\n%s", command, run(t.Context(), s.environment(pod), command))
	}
	eventually(t, f.alert+" is gone", func() error {
		if fires := s.firing(t.Context()); fires == nil || len(fires[f.alert]) > 0 {
			return fmt.Errorf("it fires still")
		}
		return nil
	})
	r.gone = time.Since(begun)
	s.settle(t)
	board.look(t)
	return r
}

// withoutFault wants nothing of what a fault will show to be there already: a sign that always shows is none.
func (s *site) withoutFault(t *testing.T, f fault, part section) {
	t.Helper()
	screen := s.look(t, part, s.pod(t, ""))
	for _, sign := range f.signs {
		if sign.in(screen) {
			t.Errorf("%q, from %q, shows without the fault, too:\n%s", sign.shows, sign.command, text(screen))
		}
	}
}

// wake waits until the alert fires, and returns it with the names of the others that do. Meanwhile it looks at the
// dashboard: some queries give something only right after a change.
func (s *site) wake(t *testing.T, f fault, begun time.Time, board *dashboard) (met alert, others []string) {
	t.Helper()
	eventually(t, f.alert+" fires", func() error {
		board.look(t)
		fires := s.firing(t.Context())
		others = slices.DeleteFunc(slices.Sorted(maps.Keys(fires)), func(name string) bool { return name == f.alert })
		if len(fires[f.alert]) == 0 {
			return fmt.Errorf("only %q do", others)
		}
		met = fires[f.alert][0]
		return nil
	})
	t.Logf("FIRES after %s: %s: %s\nothers: %q", time.Since(begun).Round(time.Second), f.alert, met.Annotations["summary"], others)
	return met, others
}

// diagnose does what the runbook says to look at, and wants it to show the signs of the fault.
func (s *site) diagnose(t *testing.T, f fault, part section, pod string) {
	t.Helper()
	var screen []shown
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Second) {
		screen = s.look(t, part, pod)
		left := slices.DeleteFunc(slices.Clone(f.signs), func(sign sign) bool { return sign.in(screen) })
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			for _, sign := range left {
				t.Errorf("what the runbook has %q print does not show %q", sign.command, sign.shows)
			}
			break
		}
	}
	t.Logf("WHAT THE RUNBOOK SHOWS\n%s", text(screen))
}

// look runs what the runbook says to look at.
func (s *site) look(t *testing.T, part section, pod string) (screen []shown) {
	t.Helper()
	for _, command := range part.commands {
		screen = append(screen, shown{command, run(t.Context(), s.environment(pod), command)})
	}
	for _, query := range part.queries {
		screen = append(screen, shown{query, strings.Join(s.query(t.Context(), query), "\n") + "\n"})
	}
	return screen
}

// environment is that of whoever was woken by an alert that names a replica.
func (s *site) environment(pod string) []string {
	return []string{"PATH=" + s.bin + ":" + os.Getenv("PATH"), "KUBECONFIG=" + s.Kubeconfig("admin"), "POD=" + pod}
}
