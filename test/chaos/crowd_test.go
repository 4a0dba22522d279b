//go:build e2e

package chaos

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

const (
	// writers is how many requests are under way at once that create Grants.
	writers = 16
	// grantsEach is how many Grants each ACL has.
	grantsEach = 1000
	// manyGrants is how many there are if GRANTS doesn't say.
	manyGrants = 100_000
)

// grants is how many Grants are created: what GRANTS says.
func grants() string { return cmp.Or(os.Getenv("GRANTS"), strconv.Itoa(manyGrants)) }

// crowd lets dave create Grants on other Jobs, which he may by a Grant of "full"; the function that it returns does, and
// ends when they are there.
func crowd(t *testing.T, s *site) func() {
	t.Helper()
	n := count(t, "GRANTS", manyGrants)
	s.create(t, acl("crowd", "crowd"))
	s.create(t, &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "policy"}, Spec: v1alpha1.ACLSpec{Resource: "dcos:adminrouter:acs"}})
	for _, name := range []string{"crowd", "policy"} { // what he may hand out, and that he may write policy at all
		s.create(t, grant("dave-"+name, name, "dave", v1alpha1.ActionFull))
	}
	for i := range (n + grantsEach - 1) / grantsEach {
		s.create(t, acl(fmt.Sprintf("crowd-%d", i), fmt.Sprintf("crowd.part%d", i)))
	}
	harness.Retry(t, waitFor, time.Second, "dave creates a Grant", func() error {
		return s.users["dave"].Create(t.Context(), grant("crowd", "crowd-0", "nobody", v1alpha1.ActionRead), client.DryRunAll)
	})
	var group sync.WaitGroup
	next := make(chan int)
	for range writers {
		group.Go(func() {
			for i := range next {
				g := grant(fmt.Sprintf("crowd-%d", i), fmt.Sprintf("crowd-%d", i/grantsEach), fmt.Sprintf("user-%d", i%5000), v1alpha1.ActionRead)
				try := func(ctx context.Context) error { return orThere(s.users["dave"].Create(ctx, g.DeepCopy())) }
				if err := persist(t.Context(), try); err != nil {
					t.Errorf("dave creates Grant %s: %v", g.Name, err)
				}
			}
		})
	}
	return func() {
		for i := range n {
			next <- i
		}
		close(next)
		group.Wait()
	}
}
