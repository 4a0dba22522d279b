package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/permission"
)

var noon = time.Date(2026, 3, 1, 13, 0, 0, 12_345_678, time.FixedZone("CET", 3600))

func entry() *Entry {
	return &Entry{
		Time: noon, Webhook: "authorization", User: "alice", Groups: []string{"devs", "staff"}, Credential: "JTI=1", Verb: "get",
		Target: Target{Group: "grantry.dev", Resource: "jobs", Namespace: "metronome", Name: "dev.batch"},
		Asked: []Question{
			{Resource: permission.JobResource("metronome", "dev.batch"), AnyOf: permission.Read, Grant: "g", ACL: "a"},
			{Resource: permission.AdminRouter("ops:mesos"), AnyOf: permission.Full},
		},
		Verdict: "deny", Refused: true, Reason: "missing", Err: errors.New("down"), Latency: 12_600 * time.Nanosecond, TraceID: "4bf9",
	}
}

// written returns what a log wrote once it was closed.
func written(t *testing.T, o Options, entries ...*Entry) string {
	t.Helper()
	var out bytes.Buffer
	l := New(&out, o)
	for _, e := range entries {
		l.Add(e)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestLog_line(t *testing.T) {
	const want = `{"time":"2026-03-01T12:00:00.012345Z","webhook":"authorization","user":"alice","groups":2,"credential":"JTI=1","verb":"get",` +
		`"target":{"group":"grantry.dev","resource":"jobs","namespace":"metronome","name":"dev.batch"},` +
		`"asked":[{"permission":"dcos:service:metronome:metronome:jobs:dev.batch","action":"read","grant":"g","acl":"a"},` +
		`{"permission":"dcos:adminrouter:ops:mesos","action":"full"}],` +
		`"verdict":"deny","refused":true,"reason":"missing","error":"down","latencyMicroseconds":13,"traceID":"4bf9"}` + "\n"
	if diff := cmp.Diff(want+want, written(t, Options{Level: All, Rate: 1}, entry(), entry())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := written(t, Options{Level: All, Rate: 1, Groups: true}, entry()); !strings.Contains(got, `"groups":2,"groupNames":["devs","staff"],`) {
		t.Errorf("with groups: %s", got)
	}
}

func TestLog_wants(t *testing.T) {
	cases := map[string]struct {
		options        Options
		allow, refusal bool
	}{
		"none":         {options: Options{Level: None, Rate: 1}},
		"denied":       {options: Options{Level: Denied, Rate: 1}, refusal: true},
		"all":          {options: Options{Level: All, Rate: 1}, allow: true, refusal: true},
		"all, at no %": {options: Options{Level: All}, refusal: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			l := New(&bytes.Buffer{}, tc.options)
			if got := l.Wants(false); got != tc.allow {
				t.Errorf("an allow: %t", got)
			}
			if got := l.Wants(true); got != tc.refusal {
				t.Errorf("a refusal: %t", got)
			}
			if l.Enabled() != tc.refusal {
				t.Errorf("enabled: %t", l.Enabled())
			}
			l.Add(entry())
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLog_samples(t *testing.T) {
	l := New(&bytes.Buffer{}, Options{Level: All, Rate: 0.25})
	const asked = 10_000
	wanted := 0
	for range asked {
		if l.Wants(false) {
			wanted++
		}
	}
	if wanted < asked/5 || wanted > asked/3 { // more than ten standard deviations
		t.Errorf("%d of %d at a rate of a quarter", wanted, asked)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOptions_validate(t *testing.T) {
	for _, o := range []Options{{}, {Level: "some", Rate: 1}, {Level: All, Rate: 1.1}, {Level: All, Rate: -0.1}, {Level: All, Rate: math.NaN()}} {
		if o.Validate() == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	for _, o := range []Options{{Level: None}, {Level: Denied, Rate: 1}, {Level: All, Rate: 0.001}} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestLog_hostile: whatever a user is called, a line is one line of printable characters, and says it.
func TestLog_hostile(t *testing.T) {
	for name, hostile := range map[string]string{
		"a line":     "eve\n{\"user\":\"alice\",\"verdict\":\"allow\"}",
		"a terminal": "eve\x1b[2K\r\u009b1A\x7f",
		"direction":  "eve\u202etxt.exe\u2066\ufeff",
		"far away":   "eve\U000e0001\U0001f600",
		"markup":     "<script>&</script>",
	} {
		t.Run(name, func(t *testing.T) {
			e := entry()
			e.User = hostile
			got := written(t, Options{Level: All, Rate: 1}, e)
			text, ended := strings.CutSuffix(got, "\n")
			if !ended || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", got)
			}
			var line Line
			if err := json.Unmarshal([]byte(got), &line); err != nil || line.User != hostile {
				t.Errorf("%q is read as %q: %v", got, line.User, err)
			}
		})
	}
	e := entry()
	e.User = "eve\xff"
	if got := written(t, Options{Level: All, Rate: 1}, e); !strings.Contains(got, `"user":"eve\ufffd"`) {
		t.Errorf("what is no UTF-8: %s", got)
	}
}

func FuzzLog(f *testing.F) {
	f.Add("alice", "dev.batch")
	f.Add("\u009b\n\"", "\\\x00\xf0")
	f.Fuzz(func(t *testing.T, user, name string) {
		e := entry()
		e.User, e.Target.Name = user, name
		got := written(t, Options{Level: All, Rate: 1}, e)
		if !json.Valid([]byte(got)) || strings.Count(got, "\n") != 1 || strings.ContainsFunc(got[:len(got)-1], func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
	})
}

func TestLog_bounds(t *testing.T) {
	e := entry()
	huge := strings.Repeat("x", 1<<20)
	e.User, e.Credential, e.Verb, e.Reason, e.Err = huge, huge, huge, huge, errors.New(huge)
	e.Target = Target{huge, huge, huge, huge, huge, huge}
	e.Groups = nil
	for range 1000 {
		e.Groups = append(e.Groups, huge)
	}
	e.Asked = []Question{{Resource: permission.JobResource("metronome", huge)}}
	got := written(t, Options{Level: All, Rate: 1, Groups: true}, e)
	if limit := (10+maxGroups)*(maxString+10) + 2*(maxReason+10) + 1000; len(got) > limit {
		t.Errorf("a line of %d bytes, of %d at the most", len(got), limit)
	}
	if !strings.Contains(got, `"groups":1000,`) {
		t.Error("the groups are not counted")
	}
	if want := `"permission":"dcos:service:metronome:metronome:jobs:xxx`; !strings.Contains(got, want) {
		t.Errorf("no %s in %.2000s", want, got)
	}
	if kept := e.Asked[0].Resource.Size() + len(e.Err.Error()); kept > maxString+maxReason+10 {
		t.Errorf("%d bytes of what is asked for and of the error wait to be written", kept)
	}
}

// stuck is a writer that waits.
type stuck struct{ began, free chan struct{} }

func (w *stuck) Write(p []byte) (int, error) {
	select {
	case w.began <- struct{}{}:
	default:
	}
	<-w.free
	return len(p), nil
}

// TestLog_neverWaits: with a reader that has stopped, lines are dropped and counted.
func TestLog_neverWaits(t *testing.T) {
	w := &stuck{make(chan struct{}, 1), make(chan struct{})}
	l := New(w, Options{Level: All, Rate: 1})
	counted := func(result string) float64 {
		return testutil.ToFloat64(metrics.DecisionLogLines.WithLabelValues(result))
	}
	dropped, done := counted("dropped"), counted("written")
	l.Add(entry())
	<-w.began
	const more = 100
	for range capacity + more {
		l.Add(entry())
	}
	if got := counted("dropped") - dropped; got != more {
		t.Errorf("%v lines were dropped, not %d", got, more)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if l.Close(ended) == nil {
		t.Error("closed while the reader does not read")
	}
	close(w.free)
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := counted("written") - done; got != capacity+1 {
		t.Errorf("%v lines were written, not %d", got, capacity+1)
	}
}

// failing fails once.
type failing struct {
	failed bool
	bytes.Buffer
}

func (w *failing) Write(p []byte) (int, error) {
	if !w.failed {
		w.failed = true
		return 0, errors.New("no space left")
	}
	return w.Buffer.Write(p)
}

func TestLog_goesOnAfterAFailure(t *testing.T) {
	w := &failing{}
	l := New(w, Options{Level: All, Rate: 1})
	counted := func(result string) float64 {
		return testutil.ToFloat64(metrics.DecisionLogLines.WithLabelValues(result))
	}
	failures, done := counted("failed"), counted("written")
	l.Add(entry())
	deadline := time.After(10 * time.Second)
	for counted("failed") == failures {
		select {
		case <-deadline:
			t.Fatal("the failure is not counted")
		case <-time.After(time.Millisecond):
		}
	}
	l.Add(entry())
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if strings.Count(w.String(), "\n") != 1 || counted("written")-done != 1 || counted("failed")-failures != 1 {
		t.Errorf("written: %v, failed: %v, %q", counted("written")-done, counted("failed")-failures, w.String())
	}
}
