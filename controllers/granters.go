package controllers

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

const (
	// grantersPause is how long at least lies between two looks at all granters, and grantersShare how many
	// times as long as the look itself took: it may ask the API server much.
	grantersPause = time.Second
	grantersShare = 10
	// grantersRecheck is when to look again although no policy has changed: RBAC may have.
	grantersRecheck = 5 * time.Minute
)

// granters knows the Grants whose granter has lost the authority over them. Only the leader looks; what it
// finds is in the status of the Grants, which every replica reads.
type granters struct {
	client.Reader
	*validator
	lost atomic.Pointer[map[string]int64] // the generation of each
}

// hasLost reports whether a Grant's granter has lost authority over its present generation. Before the first
// look it is what the status says of that generation.
func (g *granters) hasLost(grant *v1alpha1.Grant) bool {
	if g == nil || !g.store.Rule.Admission {
		return false
	}
	if all := g.lost.Load(); all != nil {
		generation, ok := (*all)[grant.Name]
		return ok && generation == grant.Generation
	}
	c := meta.FindStatusCondition(grant.Status.Conditions, v1alpha1.ConditionGranterLostAuthority)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == grant.Generation
}

// enqueue looks at every granter when the policy has changed, and now and then, and enqueues the Grants whose
// status is not what it should be.
func (g *granters) enqueue(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	changed := g.store.Subscribe(ctx)
	go func() {
		ticker := time.NewTicker(grantersRecheck)
		defer ticker.Stop()
		for {
			pause := pace{g.clock, grantersPause, grantersShare}.enqueue(ctx, queue, "Find Grants whose granter has lost authority", g.look)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause): //nolint:forbidigo // a pause, not a decision
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-ticker.C:
			}
		}
	}()
	return nil
}

// look finds the Grants whose granter has lost authority, and returns those whose status says otherwise.
func (g *granters) look(ctx context.Context) (requests []reconcile.Request, err error) {
	policy := g.store.Snapshot()
	if policy == nil || !g.store.Rule.Admission {
		return nil, nil
	}
	var grants v1alpha1.GrantList
	if err = g.List(ctx, &grants, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Grants: %w", err)
	}
	revocable, err := g.revocable(ctx)
	if err != nil {
		return nil, err
	}
	var all []delegation.Granted
	var by []*v1alpha1.Identity
	generations := make(map[string]int64, len(grants.Items))
	for i := range grants.Items {
		grant := &grants.Items[i]
		if grant.Spec.GrantedBy == nil || !grant.DeletionTimestamp.IsZero() || !g.store.Rule.Validated(grant) {
			continue
		}
		served, _ := policystore.GrantOf(grant)
		_, revoke := revocable[grant.Spec.ACL]
		all = append(all, delegation.Granted{
			Grant: served, By: effective.UserSubject(grant.Spec.GrantedBy.Username), Groups: groupsOf(grant.Spec.GrantedBy), Revocable: revoke,
		})
		by = append(by, grant.Spec.GrantedBy)
		generations[grant.Name] = grant.Generation
	}
	names, err := g.lostOf(ctx, policy, all, by)
	if err != nil {
		return nil, err
	}
	lost := make(map[string]int64, len(names))
	for _, name := range names {
		lost[name] = generations[name]
	}
	g.lost.Store(&lost)
	for i := range grants.Items {
		if _, is := lost[grants.Items[i].Name]; is != saysLost(&grants.Items[i], revocable) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&grants.Items[i])})
		}
	}
	return requests, nil
}

// lostOf asks RBAC about the granters who have no Grant to rely on; whoever turns out to hold the verb may be
// what others rely on.
func (g *granters) lostOf(
	ctx context.Context, policy *effective.Snapshot, all []delegation.Granted, by []*v1alpha1.Identity,
) (lost []string, err error) {
	at := make(map[string]int, len(all))
	for i := range all {
		at[all[i].Grant.Name] = i
	}
	for {
		lost = delegation.Lost(policy, all, g.clock.Now())
		found := false
		for _, name := range lost {
			i := at[name]
			holds, err := g.verbs.holdsGrant(ctx, by[i], all[i].Grant.ACL)
			if err != nil {
				return nil, fmt.Errorf("ask whether %s holds the verb %s: %w", by[i].Username, delegation.Verb, err)
			}
			if holds {
				all[i].Rooted, found = true, true
			}
		}
		if !found {
			return lost, nil
		}
	}
}

// revocable are the ACLs whose Grants are revoked with their granter's authority.
func (g *granters) revocable(ctx context.Context) (map[string]struct{}, error) {
	var acls v1alpha1.ACLList
	if err := g.List(ctx, &acls, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ACLs: %w", err)
	}
	names := map[string]struct{}{}
	for i := range acls.Items {
		if acls.Items[i].Spec.OnGranterLost == v1alpha1.GranterLostRevoke {
			names[acls.Items[i].Name] = struct{}{}
		}
	}
	return names, nil
}

// saysLost reports whether the status says that the granter has lost authority, in the way that its ACL wants.
func saysLost(grant *v1alpha1.Grant, revocable map[string]struct{}) bool {
	c := meta.FindStatusCondition(grant.Status.Conditions, v1alpha1.ConditionGranterLostAuthority)
	if c == nil || c.Status != metav1.ConditionTrue {
		return false
	}
	_, revoke := revocable[grant.Spec.ACL]
	return revoke == policystore.Revoked(grant)
}
