package engine

import (
	"context"
	"fmt"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
	"github.com/openfga/openfga/pkg/server"
	"github.com/openfga/openfga/pkg/storage"
	"github.com/openfga/openfga/pkg/storage/memory"

	"github.com/grantry/grantry/internal/testing/world"
)

const openFGAModel = `model
  schema 1.1

type user

type group
  relations
    define member: [user]

type path
  relations
    define above: [path]
    define full: [user, group#member] or full from above
    define create: [user, group#member] or full or create from above
    define read: [user, group#member] or full or read from above
    define update: [user, group#member] or full or update from above
    define delete: [user, group#member] or full or delete from above
    define run: [user, group#member] or update or run from above
`

// openFGABatch is how many tuples are written at once. Each write goes through all that there are.
const openFGABatch = 5_000

var openFGAKind = Kind{
	Name: "OpenFGA",
	Modelled: "A tuple for each grant, `(user or group#member, action, path)`, for each path's place below another, and for each " +
		"membership; a relation for each action. The server's Check as a function call, without its network, over its own in-memory store, which has no index: a " +
		"database has, and costs a round trip for each read. Grants whose window is closed are left out.",
	MaxGrants: 10_000,
	Why:       "its in-memory store compares each tuple that is written with all others: filling it takes a hundred times as long for ten times as many",
	New:       newOpenFGA,
}

func newOpenFGA(w *world.World) (*Engine, error) {
	ctx := context.Background()
	model, err := transformer.TransformDSLToProto(openFGAModel)
	if err != nil {
		return nil, err
	}
	datastore := memory.New(memory.WithMaxTuplesPerWrite(openFGABatch))
	s, err := server.NewServerWithOpts(server.WithDatastore(datastore))
	if err != nil {
		return nil, err
	}
	store, err := s.CreateStore(ctx, &openfgav1.CreateStoreRequest{Name: "bench"})
	if err != nil {
		return nil, err
	}
	written, err := s.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{
		StoreId: store.GetId(), SchemaVersion: model.GetSchemaVersion(), TypeDefinitions: model.GetTypeDefinitions(), Conditions: model.GetConditions(),
	})
	if err != nil {
		return nil, err
	}
	tuples := openFGATuples(w)
	for len(tuples) > 0 {
		n := min(openFGABatch, len(tuples))
		if err := datastore.Write(ctx, store.GetId(), nil, storage.Writes(tuples[:n])); err != nil {
			return nil, fmt.Errorf("openfga: write: %w", err)
		}
		tuples = tuples[n:]
	}
	return &Engine{Name: "OpenFGA", Close: s.Close, Decide: func(i int) (bool, error) {
		q := &w.Questions[i]
		response, err := s.Check(ctx, &openfgav1.CheckRequest{
			StoreId: store.GetId(), AuthorizationModelId: written.GetAuthorizationModelId(),
			TupleKey: &openfgav1.CheckRequestTupleKey{User: "user:" + q.User, Relation: q.Action, Object: pathObject(q.Job.Namespace, q.Job.Path)},
		})
		return response.GetAllowed(), err
	}}, nil
}

func pathObject(namespace, path string) string { return "path:" + namespace + "/" + path }

func openFGATuples(w *world.World) []*openfgav1.TupleKey {
	type tuple struct{ user, relation, object string }
	seen := map[tuple]bool{}
	var tuples []*openfgav1.TupleKey
	add := func(user, relation, object string) {
		if t := (tuple{user, relation, object}); !seen[t] {
			seen[t] = true
			tuples = append(tuples, &openfgav1.TupleKey{User: user, Relation: relation, Object: object})
		}
	}
	for _, g := range w.Grants {
		if !g.IsOpen() {
			continue
		}
		acl, who := w.ACLs[g.ACL], typedName(g.Subject)
		if g.Subject.IsGroup {
			who += "#member"
		}
		add(who, g.Action, pathObject(acl.Namespace, acl.Path))
	}
	for _, j := range w.Jobs {
		for paths := world.Paths(j.Path); len(paths) > 1; paths = paths[1:] {
			add(pathObject(j.Namespace, paths[1]), "above", pathObject(j.Namespace, paths[0]))
		}
	}
	for _, g := range w.Groups {
		for _, m := range g.Members {
			add("user:"+m, "member", "group:"+g.Name)
		}
	}
	return tuples
}
