// Package index names the fields by which cached objects are found, and says how each is read from an
// object. A manager and a fake client get the same indexes from the same list.
package index

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// GrantACL finds the Grants that name an ACL, for client.MatchingFields.
const GrantACL = "spec.acl"

// Field is one index over one kind.
type Field struct {
	Object client.Object
	Name   string
	Values client.IndexerFunc
}

// Fields lists every index.
func Fields() []Field {
	return []Field{
		{Object: &v1alpha1.Grant{}, Name: GrantACL, Values: grantACL},
	}
}

// Register adds every index. Call it before the cache starts, once.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	for _, f := range Fields() {
		if err := indexer.IndexField(ctx, f.Object, f.Name, f.Values); err != nil {
			return fmt.Errorf("index %T by %s: %w", f.Object, f.Name, err)
		}
	}
	return nil
}

func grantACL(obj client.Object) []string {
	return []string{obj.(*v1alpha1.Grant).Spec.ACL}
}
