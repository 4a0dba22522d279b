package index_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/index"
)

// indexer records what it is given, or fails.
type indexer struct {
	fields map[string]client.IndexerFunc
	err    error
}

func (i *indexer) IndexField(_ context.Context, _ client.Object, field string, values client.IndexerFunc) error {
	if i.err == nil {
		i.fields[field] = values
	}
	return i.err
}

func TestRegister_findsGrantsByTheirACL(t *testing.T) {
	t.Parallel()
	into := &indexer{fields: map[string]client.IndexerFunc{}}
	if err := index.Register(t.Context(), into); err != nil {
		t.Fatal(err)
	}
	got := into.fields[index.GrantACL](&v1alpha1.Grant{Spec: v1alpha1.GrantSpec{ACL: "dev"}})
	if diff := cmp.Diff([]string{"dev"}, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestRegister_failsWithTheIndexer(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if err := index.Register(t.Context(), &indexer{err: broken}); !errors.Is(err, broken) {
		t.Errorf("Register() = %v, want %v", err, broken)
	}
}
