package harness

import (
	"fmt"
	"os"
	"strings"
)

// WriteReport puts what a make target has found into the place that a Markdown file has for it, between the lines
// "<!-- begin: make TARGET -->" and "<!-- end -->", instead of what is there.
func WriteReport(file, target, report string) error {
	begin, end := "<!-- begin: make "+target+" -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		return fmt.Errorf("%s has no lines %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+report+end+after), 0o644)
}
