package certificates

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// +kubebuilder:rbac:groups="",namespace=grantry-system,resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=grantry-system,resources=secrets,resourceNames=grantry-admission,verbs=update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=grantry,verbs=get;list;watch;patch

// Rotate lets cert-controller keep the Secret up to date, with the manager: a CA for ten years, a certificate for one,
// each made anew 90 days before its end, or at once if the Secret has none that is good. One replica does that at a
// time, and one manager after the other. ctx is the one that the manager is started with: nothing is written after its
// end. It returns the name of the controller, which no other in this process has, or none if there is none to run.
func (c *Certificates) Rotate(ctx context.Context, mgr ctrl.Manager, s Settings) (string, error) {
	if s.Foreign {
		return "", nil
	}
	dir, err := mountedInName()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("rotate-%s-%d", s.Secret.Name, c.terms.Add(1))
	if err := rotator.AddRotator(&bounded{Manager: mgr, term: ctx}, &rotator.CertRotator{
		ControllerName: name,
		SecretKey:      s.Secret, CAName: "grantry-admission-ca", CAOrganization: "grantry",
		DNSName: s.DNSNames[0], ExtraDNSNames: s.DNSNames[1:],
		CertDir: dir, IsReady: make(chan struct{}), RequireLeaderElection: true,
	}); err != nil {
		return "", fmt.Errorf("set up the rotation of certificates: %w", err)
	}
	return name, nil
}

// mountedInName is a directory in which the rotator finds the file that it wants to see mounted before it
// believes that certificates arrive. Here they arrive another way.
var mountedInName = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "grantry-admission-")
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "tls.crt"), nil, 0o600)
})

// bounded is a manager as the rotator sees it. The rotator reads and writes without a context, so that it would wait
// for its cache after its term, and write then: here it writes within the term, and reads from a cache that has filled.
// What it may still do afterwards is to repeat a write that fails, nine times within some ten seconds, and to look for
// twenty minutes at most whether it has been reconciled.
type bounded struct {
	ctrl.Manager
	term   context.Context //nolint:containedctx // the rotator has no other way to learn of it
	reader cache.Cache
}

// GetClient is for manager.Manager.
func (b *bounded) GetClient() client.Client {
	return &boundedClient{Client: b.Manager.GetClient(), term: b.term}
}

// Add is for manager.Manager. The rotator adds its cache, then itself, and then a controller.
func (b *bounded) Add(r manager.Runnable) error {
	switch r := r.(type) {
	case cache.Cache:
		b.reader = r
	case *rotator.CertRotator:
		return b.Manager.Add(&filled{CertRotator: r, reader: b.reader})
	}
	return b.Manager.Add(r)
}

// boundedClient updates nothing after a term. The rotator writes in no other way.
type boundedClient struct {
	client.Client
	term context.Context //nolint:containedctx // as in bounded
}

// Update is for client.Writer.
func (c *boundedClient) Update(ctx context.Context, object client.Object, options ...client.UpdateOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.term, cancel)()
	if c.term.Err() != nil { // AfterFunc runs the function in its own time
		return c.term.Err()
	}
	return c.Client.Update(ctx, object, options...)
}

// filled is a rotator that starts once its cache has the Secrets, and whose failure is not the term's. What it could not
// make no other leader could, and what is served is good for months, as a rule; a term that ended would take launches and
// revocations along. The rotator can't be started twice, nor need it be: its controller refreshes, too, at each event
// of the Secret, again after each failure at longer and longer intervals, and whenever the cache resyncs (ten hours).
type filled struct {
	*rotator.CertRotator
	reader cache.Cache
}

// Start is for manager.Runnable.
func (f *filled) Start(ctx context.Context) error {
	if !f.reader.WaitForCacheSync(ctx) { // it has begun: an informer is not waited for before
		return f.given(ctx, errors.New("the cache of the rotation of certificates did not fill"))
	}
	if _, err := f.reader.GetInformer(ctx, &corev1.Secret{}); err != nil {
		return f.given(ctx, fmt.Errorf("fill the cache of the rotation of certificates: %w", err))
	}
	if err := f.given(ctx, f.CertRotator.Start(ctx)); err != nil {
		ctrl.LoggerFrom(ctx).WithName("cert-rotation").Error(err, "Certificates can't be kept up to date; the admission webhooks go on with what they have")
		<-ctx.Done()
	}
	return nil
}

// given is an error, unless it comes of the term's end.
func (*filled) given(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}
