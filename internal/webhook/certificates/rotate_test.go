package certificates

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &apiServer)) }

// termOf is a manager that waits for what it runs as long as that takes.
func termOf(t *testing.T, config *rest.Config) ctrl.Manager {
	t.Helper()
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: grantrytesting.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, GracefulShutdownTimeout: new(time.Duration(-1)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

// roundTripper is a function that is one.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRotate_endsUnfilled: a term ends while the Secrets can't be read, and nothing of it waits for them.
func TestRotate_endsUnfilled(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	config := rest.CopyConfig(apiServer.Require(t))
	config.Impersonate = rest.ImpersonationConfig{UserName: "nobody", Groups: []string{"system:authenticated"}}
	var refused atomic.Int32
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil && response.StatusCode == http.StatusForbidden && strings.HasSuffix(r.URL.Path, "/secrets") {
				refused.Add(1)
			}
			return response, err
		})
	})
	term := termOf(t, config)
	ctx, end := context.WithCancel(t.Context())
	name, err := (&Certificates{}).Rotate(ctx, term, Settings{
		Secret: types.NamespacedName{Namespace: "default", Name: "unfilled"}, DNSNames: []string{"localhost"},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(name).To(Equal("rotate-unfilled-1"))
	ended := make(chan error, 1)
	go func() { ended <- term.Start(ctx) }()
	g.Eventually(refused.Load, 2*time.Minute).Should(BeNumerically(">", 1), "the Secrets are asked for")
	end()
	g.Eventually(ended, 2*time.Minute).Should(Receive(BeNil()))
}

// TestRotate_failsAlone: what else the leader does goes on where there is no Secret to keep certificates in, and they are made
// as soon as there is one.
func TestRotate_failsAlone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	term := termOf(t, apiServer.Require(t))
	ctx, end := context.WithCancel(t.Context())
	if _, err := (&Certificates{}).Rotate(ctx, term, Settings{
		Secret: types.NamespacedName{Namespace: "default", Name: "missing"}, DNSNames: []string{"localhost"},
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- term.Start(ctx) }()
	g.Consistently(ended, 10*time.Second).ShouldNot(Receive(), "the term goes on")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "missing"}}
	g.Expect(apiServer.Client(t).Create(t.Context(), secret)).To(Succeed())
	g.Eventually(func() (map[string][]byte, error) {
		return secret.Data, apiServer.Client(t).Get(t.Context(), client.ObjectKeyFromObject(secret), secret)
	}, 2*time.Minute).Should(HaveKey("tls.crt"))
	end()
	g.Eventually(ended, 2*time.Minute).Should(Receive(BeNil()))
}

// TestFilled_waitsForItsEnd: a rotator that fails at once keeps its term, and no longer than that.
func TestFilled_waitsForItsEnd(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- (&filled{CertRotator: &rotator.CertRotator{}, reader: &informertest.FakeInformers{}}).Start(ctx)
	}()
	g.Consistently(ended, time.Second).ShouldNot(Receive(), "it has no reader")
	end()
	g.Eventually(ended, time.Minute).Should(Receive(BeNil()))
}

// TestRotate_writesWithinItsTerm: what the rotator is given to write with writes no more once the term has ended.
func TestRotate_writesWithinItsTerm(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	ctx, end := context.WithCancel(t.Context())
	writer := (&bounded{Manager: termOf(t, apiServer.Require(t)), term: ctx}).GetClient()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "within"}}
	g.Expect(apiServer.Client(t).Create(t.Context(), secret)).To(Succeed())
	secret.Data = map[string][]byte{"ca.crt": []byte("first")}
	g.Expect(writer.Update(t.Context(), secret)).To(Succeed())
	end()
	secret.Data["ca.crt"] = []byte("second")
	if err := writer.Update(t.Context(), secret); !errors.Is(err, context.Canceled) {
		t.Errorf("it is written after the term: %v", err)
	}
	g.Expect(apiServer.Client(t).Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	g.Expect(string(secret.Data["ca.crt"])).To(Equal("first"))
}
