// Package decisionlog writes decisions as lines of JSON, without holding up those who wait for them.
//
//	decision ─► Wants ─► Add ─► bounded queue ─► one goroutine: encode, escape, write
//	                      └─ full: dropped, and counted
//
// What users wrote is bounded when it is added, so that a queue can't be filled with megabytes, and escaped
// when it is written, so that a line is one line and shows nothing but printable characters.
//
// A nil *Log is off, and costs a comparison.
package decisionlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/permission"
)

// Level says which decisions are written.
type Level string

// The levels.
const (
	None   Level = "none"
	Denied Level = "denied" // what was asked for and is not held, or could not be decided
	All    Level = "all"
)

// Options choose what is written.
type Options struct {
	Level Level
	// Rate is the part of the decisions other than refusals that is written, from 0 to 1. Refusals are
	// never sampled.
	Rate float64
	// Groups writes the names of the user's groups, and not only how many there are.
	Groups bool
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if !slices.Contains([]Level{None, Denied, All}, o.Level) {
		return fmt.Errorf("level %q is not one of none, denied, all", o.Level)
	}
	if !(o.Rate >= 0 && o.Rate <= 1) { // NaN is refused, too
		return fmt.Errorf("rate %v is not between 0 and 1", o.Rate)
	}
	return nil
}

// Entry is a decision. It must not be changed once it was added.
type Entry struct {
	Time time.Time
	// Webhook is who decided: authorization or admission.
	Webhook string
	User    string
	Groups  []string
	// Credential names what the user proved itself with, as the API server reports it.
	Credential string
	Verb       string
	// Operation is that of an admission request (CREATE, UPDATE, DELETE), DryRun whether nothing is to be stored.
	Operation string
	DryRun    bool
	Target    Target
	Asked     []Question
	Verdict   string
	// Refused says that something was asked for that is not held, or could not be decided.
	Refused bool
	Reason  string
	Err     error
	Latency time.Duration
	// TraceID is the id of the trace that the request belongs to, or empty.
	TraceID string

	groups int // how many there were
}

// Target is what a request is about.
type Target struct {
	Group       string `json:"group,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	Path        string `json:"path,omitempty"` // instead of all others
}

// Question is a permission that was asked for, and the Grant and ACL that give it, if any.
type Question struct {
	Resource   permission.Resource
	AnyOf      permission.Actions
	Grant, ACL string

	clipped string // instead of a Resource that is too long to be kept
}

const (
	// capacity is how many lines wait at most, a second's worth at a busy API server.
	capacity = 2048
	// maxString and maxReason bound what is kept of a string, in bytes; maxGroups how many group names.
	maxString, maxReason, maxGroups = 512, 4096, 32
)

// Log writes entries. Use New.
type Log struct {
	options Options
	queue   chan *Entry
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

// New returns a log that writes to w until it is closed, or nil, which is off, at the level none.
func New(w io.Writer, o Options) *Log {
	if o.Level == None {
		return nil
	}
	l := &Log{options: o, queue: make(chan *Entry, capacity), stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.write(w)
	return l
}

// Enabled reports whether any decision is written.
func (l *Log) Enabled() bool { return l != nil }

// Wants reports whether a decision is to be added.
func (l *Log) Wants(refused bool) bool {
	switch {
	case l == nil:
		return false
	case refused:
		return true
	}
	return l.options.Level == All && (l.options.Rate >= 1 || rand.Float64() < l.options.Rate) //nolint:gosec // a sample, no secret
}

// Add gives an entry to the log, which owns it from then on. It never waits: if too many lines wait to be
// written, the entry is dropped and counted.
func (l *Log) Add(e *Entry) {
	if l == nil {
		return
	}
	e.bound(l.options.Groups)
	select {
	case l.queue <- e:
	default:
		metrics.DecisionLogLines.WithLabelValues("dropped").Inc()
	}
}

// Close writes what waits and ends the log; what is added later is not written. If ctx ends before, what
// could not be written is lost.
func (l *Log) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.once.Do(func() { close(l.stop) })
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return errors.New("the reader of the decision log is too slow: its last lines are lost")
	}
}

// write is the one goroutine that encodes and writes. Lines leave as soon as no other waits.
func (l *Log) write(w io.Writer) {
	defer close(l.stopped)
	out := encoder{to: bufio.NewWriterSize(w, 64<<10), under: w}
	for {
		select {
		case e := <-l.queue:
			out.write(e)
		default:
			out.flush()
			select {
			case e := <-l.queue:
				out.write(e)
			case <-l.stop:
				for len(l.queue) > 0 {
					out.write(<-l.queue)
				}
				out.flush()
				return
			}
		}
	}
}

// bound cuts what users chose the length of. What is kept is a copy, so that the rest can be freed.
func (e *Entry) bound(groups bool) {
	var names []string
	if groups {
		names = make([]string, min(len(e.Groups), maxGroups))
		for i := range names {
			names[i] = clip(e.Groups[i], maxString)
		}
	}
	e.groups, e.Groups = len(e.Groups), names
	for _, s := range []*string{
		&e.User, &e.Credential, &e.Verb, &e.Operation, &e.Target.Group, &e.Target.Resource, &e.Target.Subresource,
		&e.Target.Namespace, &e.Target.Name, &e.Target.Path,
	} {
		*s = clip(*s, maxString)
	}
	for i := range e.Asked {
		if q := &e.Asked[i]; q.Resource.Size() > maxString {
			q.clipped, q.Resource = clip(q.Resource.String(), maxString), permission.Resource{}
		}
	}
	e.Reason = clip(e.Reason, maxReason)
	if e.Err != nil {
		if text := e.Err.Error(); len(text) > maxReason {
			e.Err = errors.New(clip(text, maxReason))
		}
	}
}

func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.Clone(s[:limit]) + "…"
}
