package batchjob

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// hashLength is how many characters of 5 bits end a generated name.
	hashLength = 10
	// childNameLength leaves room for what the Job controller appends to an Indexed Job's name for a pod's
	// host name, a label of 63: a dash and up to ten digits.
	childNameLength = validation.DNS1123LabelMaxLength - 11
	// pathHashLength is how many characters of 5 bits stand for a path that is too long for a label key.
	pathHashLength = 20
	// labelNameLength is how long the part of a label key after the slash may be.
	labelNameLength = 63
)

// ChildName is the name of a run's batch/v1 Job: the run's name as a DNS label, cut, and a hash of the
// run's UID. One run has one name, whatever crashes between two writes, and a run that is made again under
// the same name has another.
func ChildName(run *v1alpha1.JobRun) string {
	return named(strings.ReplaceAll(run.Name, ".", "-"), "child/"+string(run.UID), childNameLength)
}

// CreationRunName is the name of the run that a Job's creation brings about. One creation has one name, and
// so one run; a Job that is made again under the same name has another.
func CreationRunName(job *v1alpha1.Job) string {
	return named(job.Name, "creation/"+string(job.UID), validation.DNS1123SubdomainMaxLength)
}

// ScheduledRunName is the name of the run for a time of a schedule: the job's name, the time in UTC to the
// minute, and a hash of the Job's UID, the schedule's id and the time. One time of one schedule has one name.
func ScheduledRunName(job *v1alpha1.Job, schedule string, at time.Time) string {
	at = at.UTC()
	hashed := fmt.Sprintf("schedule/%s/%s/%d", job.UID, schedule, at.Unix())
	return suffixed(job.Name, at.Format("200601021504")+"-"+hash(hashed, hashLength), validation.DNS1123SubdomainMaxLength)
}

// DependencyRunName is the name of the run that certain runs of the Jobs that a Job depends on bring about.
func DependencyRunName(job *v1alpha1.Job, parentRuns string) string {
	return named(job.Name, "dependency/"+string(job.UID)+"/"+parentRuns, validation.DNS1123SubdomainMaxLength)
}

// named is a name that is cut to fit, and a hash.
func named(name, hashed string, length int) string {
	return suffixed(name, hash(hashed, hashLength), length)
}

// suffixed is a name that is cut to fit, and a suffix.
func suffixed(name, suffix string, length int) string {
	if limit := length - len(suffix) - 1; len(name) > limit {
		name = strings.TrimRight(name[:limit], "-.")
	}
	return name + "-" + suffix
}

// hash is the beginning of a SHA-256 in lower-case base32, which is valid in every kind of name.
func hash(s string, length int) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:length]
}

// AncestorLabelKey is the label key that stands for a path and everything below it: in.grantry.dev/<path>.
// A path of more than 63 characters doesn't fit, and is replaced by its first 42, an underscore, and the
// first 20 of its SHA-256 in lower-case base32. No job id has an underscore, so that no other path is
// mistaken for it.
func AncestorLabelKey(path string) string {
	if len(path) > labelNameLength {
		path = path[:labelNameLength-pathHashLength-1] + "_" + hash(path, pathHashLength)
	}
	return v1alpha1.AncestorLabelPrefix + path
}

// AncestorLabels are the labels of a job id: one for each ancestor and one for itself, with empty values.
func AncestorLabels(path string) map[string]string {
	labels := make(map[string]string, strings.Count(path, ".")+3)
	for i, char := range path {
		if char == '.' {
			labels[AncestorLabelKey(path[:i])] = ""
		}
	}
	labels[AncestorLabelKey(path)] = ""
	return labels
}

// RunLabels are the labels of a Job's JobRuns.
func RunLabels(job *v1alpha1.Job) map[string]string {
	labels := AncestorLabels(job.Name)
	labels[v1alpha1.LabelJob] = string(job.UID)
	return labels
}
