package controllers

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// How long tests wait for what must happen, how often they look, and how long they watch that nothing
// happens.
const (
	waitFor  = 20 * time.Second
	lookEach = 20 * time.Millisecond
	settle   = 500 * time.Millisecond
)

// apiServer is one for all tests of the package; each test makes a namespace and names of its own.
var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) {
	// Tests on the API server mostly wait. The command line still wins.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(grantrytesting.Main(m, &apiServer))
}

// world is an API server with a manager that runs the reconcilers which a test asked for.
type world struct {
	*WithT
	client.Client // reads and writes directly, not through the manager's cache
	Store         *policystore.Store
	Namespace     string // made for this test
	prefix        string
}

// Name makes the name of a cluster-scoped object this test's own.
func (w *world) Name(base string) string { return w.prefix + "-" + base }

var worlds atomic.Int32

// startManager runs a manager with a policy store until the test ends. setup adds reconcilers to it.
func startManager(t *testing.T, setup func(ctrl.Manager, *policystore.Store) error) *world {
	t.Helper()
	w := newWorld(t)
	mgr, err := ctrl.NewManager(apiServer.Require(t), ctrl.Options{
		Scheme:         grantrytesting.Scheme,
		Metrics:        server.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: new(true)},
		LeaderElection: false,
	})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(index.Register(t.Context(), mgr.GetFieldIndexer())).To(Succeed())
	w.Store = policystore.New(mgr.GetCache(), clock.RealClock{})
	w.Expect(mgr.Add(w.Store)).To(Succeed())
	w.Expect(setup(mgr, w.Store)).To(Succeed())

	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
	t.Cleanup(func() { // the context has ended by now
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
	})
	w.Eventually(w.Store.Synced).Should(BeTrue(), "the policy is loaded")
	return w
}

// newWorld makes a namespace and a client, and runs nothing.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{WithT: NewWithT(t), Client: apiServer.Client(t), prefix: fmt.Sprintf("t%d", worlds.Add(1))}
	w.SetDefaultEventuallyTimeout(waitFor)
	w.SetDefaultEventuallyPollingInterval(lookEach)
	w.SetDefaultConsistentlyDuration(settle)
	w.SetDefaultConsistentlyPollingInterval(lookEach)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.prefix}}
	w.Expect(w.Create(t.Context(), namespace)).To(Succeed())
	w.Namespace = namespace.Name
	return w
}

// create makes an object that is deleted when the test ends: cluster-scoped ones would be seen by other
// tests.
func (w *world) create(t *testing.T, obj client.Object) {
	t.Helper()
	w.Expect(w.Create(t.Context(), obj)).To(Succeed())
	t.Cleanup(func() {
		err := w.Delete(context.WithoutCancel(t.Context()), obj)
		if client.IgnoreNotFound(err) != nil {
			t.Errorf("delete %s: %v", obj.GetName(), err)
		}
	})
}

// change updates an object as it is now; a reconciler may have written its status meanwhile.
func (w *world) change(t *testing.T, obj client.Object, edit func()) {
	t.Helper()
	w.Eventually(func() error {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		edit()
		return w.Update(t.Context(), obj)
	}).Should(Succeed(), "change %s", obj.GetName())
}
