//go:build e2e

package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/chaos/ledger"
)

// auditPolicy writes the API server's: it writes down, with what was stored, the creation and deletion of runs and
// batch/v1 Jobs in the namespace of the test, and nothing else.
func auditPolicy(t *testing.T) string {
	t.Helper()
	const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  verbs: [create, delete, deletecollection]
  namespaces: [` + space + `]
  resources:
  - {group: grantry.dev, resources: [jobruns]}
  - {group: batch, resources: [jobs]}
- level: None
`
	file := filepath.Join(t.TempDir(), "audit.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// event is what the API server writes down of a request.
type event struct {
	Verb       string
	RequestURI string
	ObjectRef  struct{ Resource, Namespace, Name, Subresource string }
	// ResponseObject is what was stored.
	ResponseObject           *stored
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp metav1.MicroTime
	StageTimestamp           metav1.MicroTime
}

type stored struct {
	Metadata metav1.ObjectMeta
	Spec     v1alpha1.JobRunSpec // of a run: of a batch/v1 Job nothing of it is looked at
}

// UnmarshalJSON leaves alone what has no metadata of an object, or another spec.
func (s *stored) UnmarshalJSON(text []byte) error {
	var parts struct {
		Metadata metav1.ObjectMeta
		Kind     string
		Spec     json.RawMessage
	}
	if err := json.Unmarshal(text, &parts); err != nil {
		return err
	}
	s.Metadata = parts.Metadata
	if parts.Kind == "JobRun" {
		return json.Unmarshal(parts.Spec, &s.Spec)
	}
	return nil
}

// recorder keeps what has happened.
type recorder struct {
	mu       sync.Mutex
	runs     map[string]ledger.Run
	children map[string]ledger.Child
	requests []ledger.Request
	absences map[string][]ledger.Absence
	outages  []ledger.Outage
	read     int64 // how far the audit log has been read
}

func newRecorder() *recorder {
	return &recorder{runs: map[string]ledger.Run{}, children: map[string]ledger.Child{}, absences: map[string][]ledger.Absence{}}
}

func (r *recorder) asked(q ledger.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, q)
}

func (r *recorder) absent(user string, a ledger.Absence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.absences[user] = append(r.absences[user], a)
}

func (r *recorder) broken(o ledger.Outage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outages = append(r.outages, o)
}

// follow reads what the API server has written down since the last time. A line that is not whole is left for the next
// time; a line that the kill of an API server has cut off is followed by another on the same line, and what of both can be
// read counts: what is there at the end is looked at, too.
func (r *recorder) follow(file string) error {
	log, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	if _, err := log.Seek(r.read, io.SeekStart); err != nil {
		return err
	}
	for reader := bufio.NewReader(log); ; {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r.read += int64(len(line))
		// Events begin so; the last of a line is whole.
		if begin := bytes.LastIndex(line, []byte(`{"kind":"Event"`)); begin > 0 {
			line = line[begin:]
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			continue // cut off
		}
		r.take(&e)
	}
}

// take writes down a creation.
func (r *recorder) take(e *event) {
	if e.Verb != "create" || e.ResponseStatus.Code != 201 || e.ResponseObject == nil || e.ObjectRef.Subresource != "" || strings.Contains(e.RequestURI, "dryRun=") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	meta := e.ResponseObject.Metadata
	switch e.ObjectRef.Resource {
	case "jobruns":
		r.runs[string(meta.UID)] = runOf(meta, e.ResponseObject.Spec, e.RequestReceivedTimestamp.Time)
	case "jobs":
		r.children[string(meta.UID)] = childOf(meta, e.RequestReceivedTimestamp.Time, e.StageTimestamp.Time)
	}
}

func runOf(meta metav1.ObjectMeta, spec v1alpha1.JobRunSpec, asked time.Time) ledger.Run {
	run := ledger.Run{UID: string(meta.UID), Name: meta.Name, Asked: asked, Owner: owners[strings.TrimPrefix(spec.Job[:len("team-x")], "team-")]}
	if spec.Schedule != "" && spec.ScheduledAt != nil {
		run.Schedule, run.At = spec.Job, spec.ScheduledAt.Time
	}
	return run
}

func childOf(meta metav1.ObjectMeta, asked, answered time.Time) ledger.Child {
	child := ledger.Child{UID: string(meta.UID), Asked: asked, Answered: answered}
	if owner := metav1.GetControllerOf(&meta); owner != nil {
		child.Run = string(owner.UID)
	}
	return child
}

// found writes down what is there: how runs stand, and what the API server had no time to write down before it was
// killed. Of that only the second of the creation is known.
func (r *recorder) found(runs []v1alpha1.JobRun, children []metav1.PartialObjectMetadata) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, run := range r.runs {
		run.Gone = true
		r.runs[uid] = run
	}
	for i := range runs {
		uid := string(runs[i].UID)
		run, known := r.runs[uid]
		if !known {
			run = runOf(runs[i].ObjectMeta, runs[i].Spec, runs[i].CreationTimestamp.Time)
		}
		run.Gone, run.State = false, stateOf(&runs[i])
		run.Succeeded = run.State == v1alpha1.StateSuccess
		run.TooLate = run.State == v1alpha1.StateStartingDeadlineExceeded
		r.runs[uid] = run
	}
	for i := range children {
		if _, known := r.children[string(children[i].UID)]; !known {
			created := children[i].CreationTimestamp.Time
			r.children[string(children[i].UID)] = childOf(children[i].ObjectMeta, created, created.Add(time.Second))
		}
	}
}

// until is the record of the runs that were asked for before a moment, and of the requests that ended before it.
func (r *recorder) until(moment time.Time, timetable ...ledger.Schedule) *ledger.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	record := &ledger.Record{
		Children: slices.Collect(maps.Values(r.children)),
		Requests: slices.DeleteFunc(slices.Clone(r.requests), func(q ledger.Request) bool { return !q.Ended.Before(moment) }),
		Absences: maps.Clone(r.absences), Outages: slices.Clone(r.outages), Schedules: timetable,
	}
	for _, run := range r.runs {
		if run.Asked.Before(moment) {
			record.Runs = append(record.Runs, run)
		}
	}
	return record
}

// tally is how much happened in a time.
type tally struct{ runs, children, requests, kept int }

// between counts what happened in a time. Kept from it were those who could not do what they may.
func (r *recorder) between(from, until time.Time) (n tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	within := func(t time.Time) bool { return !t.Before(from) && t.Before(until) }
	for _, run := range r.runs {
		if within(run.Asked) {
			n.runs++
		}
	}
	for _, child := range r.children {
		if within(child.Asked) {
			n.children++
		}
	}
	for _, q := range r.requests {
		if !within(q.Began) {
			continue
		}
		n.requests++
		if q.Outcome != ledger.Allowed && (q.User == "alice" || q.User == "dave") {
			n.kept++
		}
	}
	return n
}

// unfinished says how many runs that may be launched, and began before a moment, have not ended well, and names one. Those
// of owners without a Grant may not.
func (r *recorder) unfinished(moment time.Time, without []string) (n int, name, state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs {
		if !slices.Contains(without, run.Owner) && run.Asked.Before(moment) && !run.Succeeded && !run.TooLate {
			n++
			name, state = run.Name, run.State
		}
	}
	return n, name, state
}
