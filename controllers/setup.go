// Package controllers holds the reconcilers of Grantry's kinds.
//
//	ACL, Grant, Group ─► policystore ─► snapshot ─┬─► status of ACL, Grant and Group
//	                                              └─► LaunchGate ─┬─► Job: verdict, creation's run, history
//	                                                              └─► JobRun: launch, follow, revoke
//
// A reconciler gathers, decides in a pure function (planJob, planRun), acts, and writes the status once.
// What the API server must confirm before a launch is read past the cache: LaunchGate.confirm.
package controllers

import (
	"fmt"
	"time"

	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/policystore"
)

// Settings are what an installation chooses.
type Settings struct {
	// Mode is the security mode.
	Mode SecurityMode
	// DefaultInstance is the namespace whose app_ids have no namespace in them.
	DefaultInstance string
	// GroupsMaxAge is how long the groups that were stored with a Job's owner count for launches.
	GroupsMaxAge time.Duration
	// Children says how children are made.
	Children batchjob.Options
	// JobWorkers and RunWorkers are how many Jobs and runs are reconciled at once.
	JobWorkers, RunWorkers int
	// Replicas says when every replica decides by an object; nil says nothing.
	Replicas Replicas
}

// policyWorkers are how many ACLs, and how many Groups, are reconciled at once: each waits for the API server to write a
// status, and one after the other 20,000 of them take minutes.
const policyWorkers = 8

// Names are those of the controllers in metrics.
var Names = []string{"acl", "grant", "group", "job", "jobrun"}

// SetupAll registers every reconciler with a manager.
func SetupAll(mgr ctrl.Manager, store *policystore.Store, settings Settings) error {
	gate := &LaunchGate{
		Policy: store, Clock: clock.RealClock{}, Mode: settings.Mode, DefaultInstance: settings.DefaultInstance, GroupsMaxAge: settings.GroupsMaxAge,
		fresh: newFreshReader(mgr.GetAPIReader()),
	}
	recorder := mgr.GetEventRecorder("grantry")
	reviews, err := authorizationv1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a client for SubjectAccessReviews: %w", err)
	}
	valid := &validator{store: store, clock: gate.Clock, verbs: &reviewer{reviews: reviews.SubjectAccessReviews(), clock: gate.Clock}}
	reconcilers := []struct {
		kind    string
		workers int
		setup   interface {
			SetupWithManager(mgr ctrl.Manager, concurrency int) error
		}
	}{
		{"ACL", policyWorkers, &ACLReconciler{Client: mgr.GetClient(), Clock: gate.Clock, Store: store, validator: valid, propagation: newPropagation(settings.Replicas, "acl", gate.Clock)}},
		{"Grant", settings.JobWorkers, &GrantReconciler{
			Client: mgr.GetClient(), Clock: gate.Clock, Recorder: recorder, validator: valid,
			granters: &granters{Reader: mgr.GetClient(), validator: valid}, propagation: newPropagation(settings.Replicas, "grant", gate.Clock),
		}},
		{"Group", policyWorkers, &GroupReconciler{Client: mgr.GetClient(), Clock: gate.Clock, validator: valid, propagation: newPropagation(settings.Replicas, "group", gate.Clock)}},
		{"Job", settings.JobWorkers, &JobReconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Gate: gate, Clock: gate.Clock, Options: settings.Children}},
		{"JobRun", settings.RunWorkers, &JobRunReconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Gate: gate, Clock: gate.Clock,
			Recorder: recorder, Options: settings.Children,
		}},
	}
	for _, r := range reconcilers {
		if err := r.setup.SetupWithManager(mgr, r.workers); err != nil {
			return fmt.Errorf("set up the %s controller: %w", r.kind, err)
		}
	}
	return nil
}
