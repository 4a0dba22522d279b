package main

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/controllers"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/replicas"
)

// ownNamespace is where a pod finds the name of its namespace.
const ownNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// setUpReplicas lets every replica say how far it has come, and returns who knows that of all of them. Without an
// election there is only this one.
func (o *options) setUpReplicas(mgr ctrl.Manager, store *policystore.Store) (controllers.Replicas, error) {
	if !o.leaderElect {
		return replicas.Alone{Policy: store}, nil
	}
	namespace := o.leaseNamespace
	if namespace == "" {
		text, err := os.ReadFile(ownNamespace)
		if err != nil {
			return nil, fmt.Errorf("find the operator's namespace: %w", err)
		}
		namespace = strings.TrimSpace(string(text))
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this replica's name: %w", err)
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	member := &replicas.Member{
		Client: direct, Namespace: namespace, Name: "grantry-replica-" + strings.ToLower(host) + "-" + rand.String(5),
		Policy: store, MaxAge: o.maxViewAge, Clock: clock.RealClock{},
	}
	roll := &replicas.Roll{
		Config: mgr.GetConfig(), Options: cache.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()},
		Client: direct, Namespace: namespace, Clock: clock.RealClock{},
	}
	if err := mgr.Add(member); err != nil {
		return nil, fmt.Errorf("add this replica's Lease: %w", err)
	}
	if err := mgr.Add(roll); err != nil {
		return nil, fmt.Errorf("add the roll of replicas: %w", err)
	}
	return roll, nil
}
