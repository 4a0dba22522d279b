package batchjob

import (
	batchv1 "k8s.io/api/batch/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// kueueDomain is that of Kueue's labels.
	kueueDomain = "kueue.x-k8s.io"
	// queueLabel names the LocalQueue in which a batch/v1 Job waits for quota, priorityLabel its
	// WorkloadPriorityClass.
	queueLabel    = kueueDomain + "/queue-name"
	priorityLabel = kueueDomain + "/priority-class"
)

// Queue is the LocalQueue of Kueue in which a child waits for quota, empty for a child that waits in none.
func Queue(child *batchv1.Job) string { return child.Labels[queueLabel] }

// enqueue gives a child the queue that its Job names, unless the template names another. What waits in a queue
// begins suspended: otherwise it would run until Kueue sees it, and forever where there is none.
func enqueue(child *batchv1.Job, job *v1alpha1.Job) {
	for _, key := range []string{queueLabel, priorityLabel} {
		_, named := child.Labels[key]
		if value := job.Labels[key]; value != "" && !named {
			child.Labels[key] = value
		}
	}
	if Queue(child) != "" {
		child.Spec.Suspend = new(true)
	}
}
