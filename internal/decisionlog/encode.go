package decisionlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/grantry/grantry/internal/metrics"
)

// Line is an entry as it is written. docs/operations.md describes its fields.
type Line struct {
	Time                string   `json:"time"` // RFC 3339 with microseconds, in UTC
	Webhook             string   `json:"webhook"`
	User                string   `json:"user"`
	Groups              int      `json:"groups"`
	GroupNames          []string `json:"groupNames,omitempty"`
	Credential          string   `json:"credential,omitempty"`
	Verb                string   `json:"verb"`
	Operation           string   `json:"operation,omitempty"`
	DryRun              bool     `json:"dryRun,omitempty"`
	Target              Target   `json:"target"`
	Asked               []Asked  `json:"asked,omitempty"`
	Verdict             string   `json:"verdict"`
	Refused             bool     `json:"refused"`
	Reason              string   `json:"reason,omitempty"`
	Error               string   `json:"error,omitempty"`
	LatencyMicroseconds int64    `json:"latencyMicroseconds"`
	TraceID             string   `json:"traceID,omitempty"`
}

// Asked is a question as it is written.
type Asked struct {
	Permission string `json:"permission"`
	Action     string `json:"action"`
	Grant      string `json:"grant,omitempty"`
	ACL        string `json:"acl,omitempty"`
}

const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

func lineOf(e *Entry) Line {
	line := Line{
		Time: e.Time.UTC().Format(timeFormat), Webhook: e.Webhook, User: e.User, Groups: e.groups, GroupNames: e.Groups, Credential: e.Credential,
		Verb: e.Verb, Operation: e.Operation, DryRun: e.DryRun, Target: e.Target, Verdict: e.Verdict, Refused: e.Refused, Reason: e.Reason, LatencyMicroseconds: e.Latency.Round(time.Microsecond).Microseconds(),
		TraceID: e.TraceID,
	}
	for _, q := range e.Asked {
		resource := q.clipped
		if resource == "" {
			resource = clip(q.Resource.String(), maxString)
		}
		line.Asked = append(line.Asked, Asked{resource, q.AnyOf.String(), q.Grant, q.ACL})
	}
	if e.Err != nil {
		line.Error = e.Err.Error()
	}
	return line
}

// encoder writes lines, and counts what becomes of them.
type encoder struct {
	to      *bufio.Writer
	under   io.Writer
	waiting int // lines that were not flushed yet
	text    bytes.Buffer
}

func (o *encoder) write(e *Entry) {
	o.text.Reset()
	encode := json.NewEncoder(&o.text) // ends a line
	encode.SetEscapeHTML(false)
	o.waiting++
	err := encode.Encode(lineOf(e))
	if err == nil {
		err = escape(o.to, o.text.Bytes())
	}
	if err != nil {
		o.fail()
	}
}

func (o *encoder) flush() {
	if o.waiting == 0 {
		return
	}
	if o.to.Flush() != nil {
		o.fail()
		return
	}
	metrics.DecisionLogLines.WithLabelValues("written").Add(float64(o.waiting))
	o.waiting = 0
}

// fail gives up what was not flushed, so that the next line is tried anew.
func (o *encoder) fail() {
	metrics.DecisionLogLines.WithLabelValues("failed").Add(float64(o.waiting))
	o.waiting = 0
	o.to.Reset(o.under)
}

// escape writes a line of JSON with everything escaped that can't be seen, or that changes how a terminal
// shows it: JSON leaves DEL, the C1 controls, and marks of direction and of no width as they are. In JSON
// such characters are in strings only, so the line still means the same.
func escape(to *bufio.Writer, line []byte) error {
	for len(line) > 0 {
		plain := bytes.IndexFunc(line, func(r rune) bool { return r != '\n' && (r == utf8.RuneError || !unicode.IsPrint(r)) })
		if plain < 0 {
			_, err := to.Write(line)
			return err
		}
		if _, err := to.Write(line[:plain]); err != nil {
			return err
		}
		r, size := utf8.DecodeRune(line[plain:])
		line = line[plain+size:]
		var err error
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			_, err = fmt.Fprintf(to, `\u%04x\u%04x`, high, low)
		} else {
			_, err = fmt.Fprintf(to, `\u%04x`, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
