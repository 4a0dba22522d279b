package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/controllers"
	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/joblookup"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/webhook/authorization"
)

// authorizationOptions are the flags of the authorization webhook.
type authorizationOptions struct {
	address string
	certDir string
	callers []string
}

func (o *authorizationOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.address, "authorization-bind-address", "", "Address of the authorization webhook; unset turns it off")
	f.StringVar(&o.certDir, "authorization-cert-dir", "/etc/grantry/authorization", "Directory with tls.crt and tls.key of the authorization webhook, and ca.crt, which signs its callers' certificates")
	f.StringSliceVar(&o.callers, "authorization-client-names", nil, "Common names of the certificates that may call the authorization webhook; unset is every one that ca.crt signed")
}

// setUpAuthorization returns the server of the authorization webhook, for every replica, or nothing if no address is set.
func (o *options) setUpAuthorization(ctx context.Context, mgr ctrl.Manager, store *policystore.Store, observe observers) ([]manager.Runnable, error) {
	if o.authorization.address == "" {
		return nil, nil
	}
	work, err := joblookup.NewCache(ctx, mgr.GetConfig(), cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(), NewInformer: store.View.NewInformer,
	}, joblookup.Scope(o.Mode == controllers.ModeStrict))
	if err != nil {
		return nil, fmt.Errorf("create the cache of pods: %w", err)
	}
	if err := mgr.Add(work); err != nil {
		return nil, fmt.Errorf("add the cache of pods: %w", err)
	}
	server := &authorization.Server{
		Address: o.authorization.address, CertDir: o.authorization.certDir, Callers: o.authorization.callers, CanDecide: store.Synced,
		Handler: observe.traces.Handler("authorize", &authorization.Handler{
			Authorizer: &authorizer.Authorizer{
				Policy: store, Clock: clock.RealClock{}, Mode: o.Mode, DefaultInstance: o.DefaultInstance,
				Lookup: &joblookup.Lookup{Cached: mgr.GetClient(), Work: work, Live: mgr.GetAPIReader(), NotFound: authorizer.ErrNotFound, OfNoRun: authorizer.ErrOfNoRun},
			},
			Clock: clock.RealClock{}, Log: observe.log,
		}),
		Prepare: func(ctx context.Context) error {
			return errors.Join(joblookup.Prepare(ctx, mgr.GetCache(), work), store.WaitSynced(ctx))
		},
	}
	return []manager.Runnable{server}, mgr.AddReadyzCheck("authorization", server.ReadyCheck)
}
