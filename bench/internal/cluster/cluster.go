// Package cluster measures the operator through a real API server: what it adds to a request, how long a grant takes to
// count, and what a long run leaves behind.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/bench/internal/load"
	"github.com/grantry/grantry/bench/internal/report"
	"github.com/grantry/grantry/bench/internal/webhook"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/testing/certificates"
	"github.com/grantry/grantry/internal/testing/world"
	"github.com/grantry/grantry/test/harness"
)

// Options are how much is measured.
type Options struct {
	Grants   int
	Requests int           // of each kind
	Trials   int           // grants that are created and deleted
	Soak     time.Duration // of the long run
	Log      io.Writer
}

const (
	namespace = "metronome"
)

// The users of the measurement. Each is in a group of its name, by which the API server knows whom to ask. All are in
// as many groups, and may do the same.
const (
	byRBAC    = "bench-rbac"
	byNothing = "bench-nothing"
	byGrantry = "bench-grantry"
)

// site is a running cluster with a webhook that does nothing, and the operator.
type site struct {
	Options
	*harness.Cluster
	dir      string
	admin    client.Client
	operator *harness.Operator
	nothing  *webhook.Process
	hook     *load.Client // the operator's webhook, asked directly
	world    *world.World
}

// Measure starts a cluster, fills it with grants, and takes all measurements in it.
func Measure(ctx context.Context, o Options) (sections []report.Section, err error) {
	dir, err := os.MkdirTemp("", "bench-cluster-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &site{Options: o, dir: dir, world: world.New(world.Shape{Grants: o.Grants, Questions: 4_096})}
	defer func() { err = errors.Join(err, s.stop(context.WithoutCancel(ctx))) }()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	for _, measure := range []func(context.Context) (report.Section, error){s.latency, s.enforcement, s.soak} {
		section, err := measure(ctx)
		if err != nil {
			return sections, err
		}
		sections = append(sections, section)
	}
	return sections, nil
}

func (s *site) start(ctx context.Context) error {
	if err := certificates.Write(s.dir); err != nil {
		return err
	}
	var err error
	if s.nothing, err = webhook.Start(ctx, webhook.Settings{Kind: webhook.Bare, Address: "127.0.0.1:0", CertDir: s.dir}); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	if err := s.startCluster(ctx, address); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	binary, err := s.BuildOperator(ctx)
	if err != nil {
		return err
	}
	s.operator, err = s.StartOperator(ctx, binary, "--mode", "permissive", "--authorization-bind-address", address,
		"--authorization-cert-dir", s.dir, "--authorization-client-names", certificates.Caller)
	if err != nil {
		return err
	}
	if err := s.operator.WaitReady(ctx); err != nil {
		return err
	}
	if s.hook, err = load.NewClient(address, s.dir); err != nil {
		return err
	}
	s.say("the operator is ready; waiting until it has written all status")
	return s.settle(ctx)
}

func (s *site) startCluster(ctx context.Context, operatorAddress string) error {
	config, err := authorizationConfig(s.dir, map[string]string{byNothing: s.nothing.Address, byGrantry: operatorAddress})
	if err != nil {
		return err
	}
	args := []string{"--authorization-config", config}
	for _, user := range []string{byRBAC, byNothing, byGrantry} {
		args = append(args, "--groups", user+"="+user+",team-00000,team-00001,team-00002,team-00003,team-00004")
	}
	s.say("starting a cluster")
	s.Cluster, err = harness.Up(ctx, harness.Options{Name: fmt.Sprintf("bench-%d", os.Getpid()), Nodes: "none", UpArgs: args, Log: s.Log})
	if err != nil {
		return err
	}
	s.admin, err = s.client("admin")
	return err
}

func (s *site) client(user string) (client.Client, error) {
	config, err := s.Config(user)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: grantrytesting.Scheme})
}

// stop ends whatever was started.
func (s *site) stop(ctx context.Context) (err error) {
	if s.operator != nil {
		s.operator.Stop()
	}
	if s.Cluster != nil {
		err = s.Down(ctx)
	}
	if s.nothing != nil {
		err = errors.Join(err, s.nothing.Stop())
	}
	return err
}

func (s *site) say(format string, arguments ...any) {
	_, _ = fmt.Fprintf(s.Log, format+"\n", arguments...)
}

// prepare creates the namespace, the RBAC of the user who needs some, the grants, and jobs to ask for.
func (s *site) prepare(ctx context.Context) error {
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: byRBAC},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"jobs"}, Verbs: []string{"get"}}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: byRBAC}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: byRBAC},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: byRBAC}},
		},
	} {
		if err := s.admin.Create(ctx, object); err != nil {
			return err
		}
	}
	s.say("creating %s grants", report.Count(s.Grants))
	return s.fill(ctx)
}

// freeAddress is one that nothing listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// write writes a file in the measurement's own directory.
func write(dir, name, content string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(content), 0o600)
}
