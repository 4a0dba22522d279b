package cluster

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/testing/world"
)

const (
	writers = 32
	// jobs are those that exist, below benchPath.
	jobs      = 100
	benchPath = "bench.latency"
)

func jobName(i int) string { return fmt.Sprintf("%s.job%03d", benchPath, i%jobs) }

// fill creates the world's ACLs and Grants, and jobs that the measured users may read.
func (s *site) fill(ctx context.Context) error {
	all := make(chan client.Object, writers)
	group, ctx := errgroup.WithContext(ctx)
	for range writers {
		group.Go(func() error {
			for object := range all {
				if err := s.admin.Create(ctx, object); err != nil {
					return fmt.Errorf("create %T %s: %w", object, object.GetName(), err)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(all)
		for object := range s.objects {
			select {
			case all <- object:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return group.Wait()
}

// objects yields all that is to be created.
func (s *site) objects(yield func(client.Object) bool) {
	user := world.Grant{Name: "bench-read", Subject: world.Subject{Name: byGrantry}, Action: "read"}
	group := world.Grant{Name: "bench-soak", Subject: world.Subject{Name: soakGroup, IsGroup: true}, Action: "read"}
	if !yield(aclOf(world.ACL{Name: "bench", Namespace: namespace, Path: benchPath})) || !yield(grantOf(user, "bench")) || !yield(grantOf(group, "bench")) {
		return
	}
	for i := range jobs {
		if !yield(&v1alpha1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: jobName(i)},
			Spec:       v1alpha1.JobSpec{StartPolicy: v1alpha1.StartOnDemand, Run: &v1alpha1.RunSpec{Cmd: "true"}},
		}) {
			return
		}
	}
	for _, a := range s.world.ACLs {
		if !yield(aclOf(a)) {
			return
		}
	}
	for _, g := range s.world.Grants {
		if !yield(grantOf(g, s.world.ACLs[g.ACL].Name)) {
			return
		}
	}
}

func aclOf(a world.ACL) *v1alpha1.ACL {
	return &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: a.Name}, Spec: v1alpha1.ACLSpec{Resource: a.Resource()}}
}

func grantOf(g world.Grant, acl string) *v1alpha1.Grant {
	who := v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: g.Subject.Name}
	if g.Subject.IsGroup {
		who.Kind = v1alpha1.GroupSubject
	}
	grant := &v1alpha1.Grant{
		ObjectMeta: metav1.ObjectMeta{Name: g.Name},
		Spec:       v1alpha1.GrantSpec{ACL: acl, Subjects: []v1alpha1.Subject{who}, Actions: []v1alpha1.Action{v1alpha1.Action(g.Action)}},
	}
	if !g.ExpiresAt.IsZero() {
		grant.Spec.ExpiresAt = &metav1.Time{Time: g.ExpiresAt}
	}
	return grant
}

// settle waits until the operator's queues have been empty for a while.
func (s *site) settle(ctx context.Context) error {
	const calm = 5
	for empty := 0; empty < calm; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		families, err := s.operator.Metrics()
		if err != nil {
			return err
		}
		waiting := sum(families["workqueue_depth"]) + sum(families["controller_runtime_active_workers"])
		if waiting == 0 {
			empty++
		} else {
			empty = 0
		}
	}
	return nil
}
