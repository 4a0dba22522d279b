package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"

	"github.com/grantry/grantry/internal/testing/world"
)

var rbacKind = Kind{
	Name: "Kubernetes RBAC",
	Modelled: "RBAC knows neither paths nor windows: a Role for each path and action lists the names of the jobs that there " +
		"are at and below the path (`resourceNames`), and would have to be rewritten whenever a job comes or goes; a RoleBinding for each grant; grants " +
		"whose window is closed are left out. Actions are verbs. The authorizer of the API server, over listers as in the API server.",
	New: func(w *world.World) (*Engine, error) { return newRBAC("Kubernetes RBAC", w, byGrant) },
}

var rbacBySubjectKind = Kind{
	Name: "Kubernetes RBAC, merged", Tuned: true,
	Modelled: "The same rules, merged by a program into one Role and one RoleBinding for each subject and namespace: nobody's " +
		"grants can be listed, given or taken one by one, but there are far fewer bindings to look through.",
	New: func(w *world.World) (*Engine, error) { return newRBAC("Kubernetes RBAC, merged", w, bySubject) },
}

// rbacObjects are Roles and RoleBindings in the making.
type rbacObjects struct {
	names    map[world.Job][]string // of the jobs at and below a path
	roles    map[string]*rbacv1.Role
	bindings map[string]*rbacv1.RoleBinding
}

func newRBAC(name string, w *world.World, add func(o *rbacObjects, acl world.ACL, g world.Grant)) (*Engine, error) {
	o := &rbacObjects{names: map[world.Job][]string{}, roles: map[string]*rbacv1.Role{}, bindings: map[string]*rbacv1.RoleBinding{}}
	for _, j := range w.Jobs {
		for _, path := range world.Paths(j.Path) {
			key := world.Job{Namespace: j.Namespace, Path: path}
			if !slices.Contains(o.names[key], j.Path) {
				o.names[key] = append(o.names[key], j.Path)
			}
		}
	}
	for _, g := range w.Grants {
		if g.IsOpen() {
			add(o, w.ACLs[g.ACL], g)
		}
	}
	roles, err := indexer(maps.Values(o.roles))
	if err != nil {
		return nil, err
	}
	bindings, err := indexer(maps.Values(o.bindings))
	if err != nil {
		return nil, err
	}
	none := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
	a := rbac.New(
		&rbac.RoleGetter{Lister: rbaclisters.NewRoleLister(roles)}, &rbac.RoleBindingLister{Lister: rbaclisters.NewRoleBindingLister(bindings)},
		&rbac.ClusterRoleGetter{Lister: rbaclisters.NewClusterRoleLister(none)}, &rbac.ClusterRoleBindingLister{Lister: rbaclisters.NewClusterRoleBindingLister(none)},
	)
	return &Engine{Name: name, Close: func() {}, Decide: func(i int) (bool, error) {
		q := &w.Questions[i]
		decision, _, err := a.Authorize(context.Background(), authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: q.User, Groups: q.Groups}, Verb: q.Action, APIGroup: "grantry.dev", Resource: "jobs",
			Namespace: q.Job.Namespace, Name: q.Job.Path, ResourceRequest: true,
		})
		return decision == authorizer.DecisionAllow, err
	}}, nil
}

// rule gives what a grant gives. It is never without names, which would mean all of them.
func (o *rbacObjects) rule(acl world.ACL, action string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		APIGroups: []string{"grantry.dev"}, Resources: []string{"jobs"}, Verbs: world.Given(action),
		ResourceNames: o.names[world.Job{Namespace: acl.Namespace, Path: acl.Path}],
	}
}

func byGrant(o *rbacObjects, acl world.ACL, g world.Grant) {
	role := acl.Path + "-" + g.Action
	if key := acl.Namespace + "/" + role; o.roles[key] == nil {
		o.roles[key] = &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: acl.Namespace, Name: role}, Rules: []rbacv1.PolicyRule{o.rule(acl, g.Action)},
		}
	}
	o.bind(g.Name, acl.Namespace, role, g.Subject)
}

func bySubject(o *rbacObjects, acl world.ACL, g world.Grant) {
	name := fmt.Sprintf("%s-%v", g.Subject.Name, g.Subject.IsGroup)
	key := acl.Namespace + "/" + name
	if o.roles[key] == nil {
		o.roles[key] = &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: acl.Namespace, Name: name}}
		o.bind(name, acl.Namespace, name, g.Subject)
	}
	o.roles[key].Rules = append(o.roles[key].Rules, o.rule(acl, g.Action))
}

func (o *rbacObjects) bind(name, namespace, role string, who world.Subject) {
	subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: who.Name}
	if who.IsGroup {
		subject.Kind = rbacv1.GroupKind
	}
	o.bindings[namespace+"/"+name] = &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
	}
}

// indexer holds objects as an informer does.
func indexer[T any](objects func(yield func(T) bool)) (cache.Indexer, error) {
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for o := range objects {
		if err := i.Add(o); err != nil {
			return nil, err
		}
	}
	return i, nil
}
