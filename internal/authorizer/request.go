package authorizer

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Request is what a user wants to do, as the API server describes it. The API version makes no
// difference, and neither do field selectors, but for metadata.name=x, which is the name x.
type Request struct {
	User        string
	Groups      []string
	Verb        string
	Group       string
	Resource    string
	Subresource string
	Namespace   string // empty for all namespaces
	Name        string
	// Requirements are those of the label selector, all of which must hold.
	Requirements []metav1.LabelSelectorRequirement
	// Basis is filled with what the decision rests on, unless it is nil.
	Basis *Basis
}

// Kind is what a request is about, in a closed set that metrics can count by.
type Kind uint8

// The kinds of requests. What Grantry doesn't guard is Unguarded.
const (
	Unguarded Kind = iota
	Jobs
	JobRuns
	PolicyObjects // ACLs, Grants and Groups
	Pods
)

var kindNames = [...]string{Unguarded: "other", Jobs: "jobs", JobRuns: "jobruns", PolicyObjects: "policy", Pods: "pods"}

// String is the name of the kind, as a label of metrics.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return kindNames[Unguarded]
	}
	return kindNames[k]
}

// apiGroup is the group of Grantry's kinds.
const apiGroup = "grantry.dev"

// kindOf says what a resource is, whatever is wanted of it.
func kindOf(r *Request) Kind {
	switch r.Group {
	case apiGroup:
		switch r.Resource {
		case "jobs":
			return Jobs
		case "jobruns":
			return JobRuns
		case "acls", "grants", "groups":
			return PolicyObjects
		}
	case "":
		if r.Resource == "pods" {
			return Pods
		}
	}
	return Unguarded
}

const (
	// ancestorPrefix begins the label key that stands for a path and everything below it.
	ancestorPrefix = "in.grantry.dev/"
	// runLabel is on the pods of runs.
	runLabel = "grantry.dev/run-uid"
	// maxPins bounds how many requirements are looked at. More of them never allow more.
	maxPins = 32
	// maxNamespace, maxName and maxLabelName are the longest that there can be.
	maxNamespace, maxName, maxLabelName = 63, 253, 63
)

// narrows reports whether a requirement holds only for objects that have the label.
func narrows(r *metav1.LabelSelectorRequirement) bool {
	switch r.Operator {
	case metav1.LabelSelectorOpExists:
		return len(r.Values) == 0
	case metav1.LabelSelectorOpIn: // "=" and "==" arrive as In
		return len(r.Values) > 0
	default: // NotIn, DoesNotExist and what is not known also select objects without the label
		return false
	}
}

// subtree returns the path that a requirement pins a request to. A path that was too long for a label
// key is in it as a hash, with an underscore, which no job id has: such a key can't be read.
func subtree(r *metav1.LabelSelectorRequirement) (path string, unreadable, ok bool) {
	path, ok = strings.CutPrefix(r.Key, ancestorPrefix)
	if !ok || path == "" || len(path) > maxLabelName || !narrows(r) {
		return "", false, false
	}
	if strings.IndexByte(path, '_') >= 0 {
		return "", true, false
	}
	return path, false, true
}
