package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/leaderelection"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/grantry/grantry/controllers"
	"github.com/grantry/grantry/internal/leadership"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
)

// leaseName is that of the Lease by which the replicas agree on who writes.
const leaseName = "grantry.dev"

// campaign makes this replica lead when it is its turn. Without an election it always is.
func (o *options) campaign(mgr ctrl.Manager, store *policystore.Store, leases *replicaLeases) (*leadership.Campaign, error) {
	lock, err := leaderelection.NewResourceLock(mgr.GetConfig(), mgr, leaderelection.Options{
		LeaderElection: o.leaderElect, LeaderElectionID: leaseName, LeaderElectionNamespace: o.leaseNamespace,
		RenewDeadline: leadership.RenewDeadline,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the lease of the leader: %w", err)
	}
	return &leadership.Campaign{
		Lock: lock, Name: leaseName,
		Prepare: func(ctx context.Context) error {
			if !mgr.GetCache().WaitForCacheSync(ctx) {
				return errors.New("the caches did not fill")
			}
			return store.WaitSynced(ctx) // nothing is launched without it, and work on 100,000 objects would hold it up
		},
		Work: func(ctx context.Context) error { return o.lead(ctx, mgr, store, leases) },
	}, nil
}

// termGrace is how long a term that has ended is waited for before its lease is given back. What is left of it can't
// write any more. With the ten seconds of the preStop hook it is well within the 45 that a pod has to end.
const termGrace = 15 * time.Second

// lead does what only the leader does, until ctx ends: it has a manager of its own for each term, which lives on the
// replica's cache. A controller can't be started twice, and what it remembers is worth nothing in another term.
func (o *options) lead(ctx context.Context, mgr ctrl.Manager, store *policystore.Store, leases *replicaLeases) error {
	term, err := ctrl.NewManager(mgr.GetConfig(), ctrl.Options{
		Scheme: mgr.GetScheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mgr.GetRESTMapper(), nil },
		NewCache:       func(*rest.Config, cache.Options) (cache.Cache, error) { return leadership.Borrow(mgr.GetCache()), nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return mgr.GetClient(), nil },
		Controller:     config.Controller{SkipNameValidation: new(true)}, // those of the last term had the same

		GracefulShutdownTimeout: new(termGrace),
	})
	if err != nil {
		return fmt.Errorf("create the leader's manager: %w", err)
	}
	settings := o.Settings
	if settings.Replicas, err = leases.roll(term, store); err != nil {
		return err
	}
	if err := controllers.SetupAll(term, store, settings); err != nil {
		return err
	}
	ending := slices.Clone(controllers.Names)
	if o.admission.address != "" {
		name, err := o.admission.certificates.Rotate(ctx, term, o.admission.certificateSettings())
		if err != nil {
			return err
		}
		if name != "" {
			ending = append(ending, name)
		}
	}
	defer metrics.ForgetControllers(ending...)
	return term.Start(ctx)
}
