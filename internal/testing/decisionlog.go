package testing

import (
	"encoding/json"
	"io"
	"testing"

	"github.com/grantry/grantry/internal/decisionlog"
)

// DecisionLines reads the lines of a decision log.
func DecisionLines(tb testing.TB, log io.Reader) (lines []decisionlog.Line) {
	tb.Helper()
	for decoder := json.NewDecoder(log); decoder.More(); {
		var line decisionlog.Line
		if err := decoder.Decode(&line); err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}
