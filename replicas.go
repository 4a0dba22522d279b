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

// replicaLeases are how the replicas say how far each has come. Nil is that there is only one.
type replicaLeases struct {
	client    client.Client
	namespace string
}

// setUpReplicas lets this replica say how far it has come, if there may be others.
func (o *options) setUpReplicas(mgr ctrl.Manager, store *policystore.Store) (*replicaLeases, error) {
	if !o.leaderElect {
		return nil, nil // nil is a kind of leases
	}
	l := &replicaLeases{namespace: o.leaseNamespace}
	if l.namespace == "" {
		text, err := os.ReadFile(ownNamespace)
		if err != nil {
			return nil, fmt.Errorf("find the operator's namespace: %w", err)
		}
		l.namespace = strings.TrimSpace(string(text))
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this replica's name: %w", err)
	}
	if l.client, err = client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient()}); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	member := &replicas.Member{
		Client: l.client, Namespace: l.namespace, Name: "grantry-replica-" + strings.ToLower(host) + "-" + rand.String(5),
		Policy: store, MaxAge: o.maxViewAge, Clock: clock.RealClock{},
	}
	if err := mgr.Add(member); err != nil {
		return nil, fmt.Errorf("add this replica's Lease: %w", err)
	}
	if err := mgr.AddReadyzCheck("lease", member.ReadyCheck); err != nil {
		return nil, fmt.Errorf("add this replica's Lease: %w", err)
	}
	return l, nil
}

// roll returns who knows how far all of them have come, for the term of a leader.
func (l *replicaLeases) roll(term ctrl.Manager, store *policystore.Store) (controllers.Replicas, error) {
	if l == nil {
		return replicas.Alone{Policy: store}, nil
	}
	roll := &replicas.Roll{
		Config: term.GetConfig(), Options: cache.Options{Scheme: term.GetScheme(), Mapper: term.GetRESTMapper(), HTTPClient: term.GetHTTPClient()},
		Client: l.client, Namespace: l.namespace, Clock: clock.RealClock{},
	}
	if err := term.Add(roll); err != nil {
		return nil, fmt.Errorf("add the roll of replicas: %w", err)
	}
	return roll, nil
}
