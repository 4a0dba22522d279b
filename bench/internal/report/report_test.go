package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWrite_replacesWhatIsBetweenTheMarkersAndNothingElse(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const before = "# Page\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nprose\n\n<!-- begin b -->\nkept\n<!-- end b -->\n"
	if err := os.WriteFile(page, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	a := Section{Name: "a", Body: "new\n", Bars: []Bar{{What: "speed", Measured: "2×", Wanted: "≥ 3×"}}}
	if err := Write(page, ThisMachine(), []Section{a}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	got := string(content)
	for _, want := range []string{"# Page\n", "prose\n", "kept\n", "new\n", "| speed | 2× | ≥ 3× | MISSED |", "cores of"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "old") {
		t.Errorf("what was there is still there:\n%s", got)
	}
	if err := Write(page, ThisMachine(), []Section{{Name: "c"}}); err == nil {
		t.Error("a section without markers was written")
	}
}

func TestPrint_failsForAMissedBar(t *testing.T) {
	met, missed := Bar{What: "a", Met: true}, Bar{What: "b"}
	var out strings.Builder
	if err := Print(&out, []Section{{Bars: []Bar{met}}}); err != nil {
		t.Error(err)
	}
	if err := Print(&out, []Section{{Bars: []Bar{met, missed}}}); err == nil || !strings.Contains(out.String(), "MISSED") {
		t.Errorf("%v, %s", err, &out)
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Duration(412 * time.Nanosecond): "412 ns", Duration(1_234 * time.Nanosecond): "1.23 µs", Duration(45_678 * time.Microsecond): "45.7 ms",
		Duration(123_456 * time.Microsecond): "123 ms", Duration(2 * time.Second): "2.00 s", Number(1234.5): "1,234", Number(0.853): "0.85", Count(1_000_000): "1,000,000", Count(7): "7",
	} {
		if got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}
