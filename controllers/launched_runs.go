package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// launchedRuns remembers for which runs this process has created a child. Between that and the status that
// tells of it, nothing else does: a child that somebody deletes in that time must not be created again.
// The zero value is empty and ready for use.
type launchedRuns struct {
	mu   sync.Mutex
	uids map[types.NamespacedName]types.UID
}

func (l *launchedRuns) add(run *v1alpha1.JobRun) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uids == nil {
		l.uids = map[types.NamespacedName]types.UID{}
	}
	l.uids[client.ObjectKeyFromObject(run)] = run.UID
}

func (l *launchedRuns) has(run *v1alpha1.JobRun) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.uids[client.ObjectKeyFromObject(run)] == run.UID
}

// forget drops a run that is gone, or whose status tells of its child.
func (l *launchedRuns) forget(name types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.uids, name)
}
