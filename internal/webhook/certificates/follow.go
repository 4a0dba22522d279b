package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// state is what the server and the readiness check see of the follower.
type state struct {
	serving atomic.Pointer[served]
	unready atomic.Pointer[string]
}

// served is a certificate with the CA that signed it, as in the Secret.
type served struct {
	pair    *tls.Certificate
	tls, ca []byte
	seen    time.Time // when the API server was told to trust it
}

// follower brings what is in the Secret to the API server and to the webhook server, on every replica. It is
// safe for several to do so, even with different Secrets, as while an upgrade changes who makes the certificate: each
// adds its CA, and takes others out only once they have been there for long.
type follower struct {
	Settings
	client    client.Client
	state     *state
	next      *served // in the Secret, and not served yet
	strangers strangers
	missing   []string // configurations that were not there at the last look
}

var _ reconcile.Reconciler = (*follower)(nil)

// follow watches the Secret and the two configurations, and no others.
func (c *Certificates) follow(mgr ctrl.Manager, s Settings) error {
	byName := func(name string) cache.ByObject {
		return cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", name)}
	}
	secret := byName(s.Secret.Name)
	secret.Namespaces = map[string]cache.Config{s.Secret.Namespace: {}}
	own, err := cluster.New(mgr.GetConfig(), func(o *cluster.Options) {
		o.Scheme, o.HTTPClient = mgr.GetScheme(), mgr.GetHTTPClient()
		o.Cache.ByObject = map[client.Object]cache.ByObject{
			&corev1.Secret{}: secret,
			&admissionregistrationv1.MutatingWebhookConfiguration{}:   byName(s.Configuration),
			&admissionregistrationv1.ValidatingWebhookConfiguration{}: byName(s.Configuration),
		}
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(own); err != nil {
		return fmt.Errorf("watch what certificates are for: %w", err)
	}
	f := &follower{Settings: s, client: own.GetClient(), state: &c.state}
	the := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: s.Secret}}
	})
	return ctrl.NewControllerManagedBy(mgr).Named("certificates").
		WithOptions(controller.Options{NeedLeaderElection: new(false), MaxConcurrentReconciles: 1}).
		WatchesRawSource(source.Kind[client.Object](own.GetCache(), &corev1.Secret{}, the)).
		WatchesRawSource(source.Kind[client.Object](own.GetCache(), &admissionregistrationv1.MutatingWebhookConfiguration{}, the)).
		WatchesRawSource(source.Kind[client.Object](own.GetCache(), &admissionregistrationv1.ValidatingWebhookConfiguration{}, the)).
		Complete(f)
}

// Reconcile makes the API server trust what is in the Secret, and then serves it.
func (f *follower) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	current, err := f.read(ctx)
	again, untrusted := f.trust(ctx, f.authorities(current)) // what is served, too, whatever has become of the Secret
	switch {
	case untrusted == nil && errors.Is(err, errEmpty) && !f.Foreign:
		_ = f.notReady(err)
		return reconcile.Result{RequeueAfter: again}, nil // the rotator fills it in, which is an event
	case err != nil || untrusted != nil:
		return reconcile.Result{}, f.notReady(errors.Join(err, untrusted))
	}
	again = sooner(again, f.serve(ctx, current))
	ready := ""
	f.state.unready.Store(&ready)
	return reconcile.Result{RequeueAfter: again}, nil
}

// notReady takes the replica out of service unless it serves what is trusted.
func (f *follower) notReady(err error) error {
	why := err.Error()
	if f.state.serving.Load() == nil || errors.Is(err, errUntrusted) {
		f.state.unready.Store(&why)
	}
	return err
}

// errUntrusted says that the API server calls the webhooks, and does not trust what they serve.
var errUntrusted = errors.New("the API server does not trust the certificate that is served")

// errEmpty says that no certificate was made yet, or that it was thrown away to get another.
var errEmpty = errors.New("there is no certificate yet")

// read returns what the Secret holds.
func (f *follower) read(ctx context.Context) (*served, error) {
	secret := &corev1.Secret{}
	if err := f.client.Get(ctx, f.Secret, secret); err != nil {
		return nil, fmt.Errorf("read the Secret of the admission webhooks: %w", err)
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		return nil, fmt.Errorf("%w in %s: %w", errEmpty, f.Secret, err)
	}
	if len(parse(secret.Data["ca.crt"])) == 0 {
		return nil, fmt.Errorf("%w in %s: ca.crt has none by which the API server could trust it", errEmpty, f.Secret)
	}
	return &served{pair: &pair, tls: secret.Data["tls.crt"], ca: secret.Data["ca.crt"]}, nil
}

// authorities are those of what is in the Secret, if something is, and of what is served until that is.
func (f *follower) authorities(current *served) (cas []byte) {
	if current != nil {
		cas = current.ca
	}
	if serving := f.state.serving.Load(); serving != nil && !bytes.Equal(serving.ca, cas) {
		cas = slices.Concat(cas, []byte("\n"), serving.ca)
	}
	return cas
}

// registration is one of the two configurations, with the bundle of each of its webhooks.
type registration struct {
	client.Object
	bundles [][]byte
}

// registered returns the configurations that are there. Where one is missing, its webhooks are called by nobody who would
// have to trust them: somebody took admission away, or is about to install it. A replica that went out of service
// then would take the authorization webhook along.
func (f *follower) registered(ctx context.Context) (found []registration, err error) {
	var missing []string
	for _, configuration := range []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{},
	} {
		err := f.client.Get(ctx, types.NamespacedName{Name: f.Configuration}, configuration)
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, fmt.Sprintf("%T", configuration))
		case err != nil:
			return nil, fmt.Errorf("read the %T: %w", configuration, err)
		default:
			found = append(found, registration{configuration, bundlesIn(configuration)})
		}
	}
	if len(missing) > 0 && !slices.Equal(missing, f.missing) {
		ctrl.LoggerFrom(ctx).Info("The API server does not call the admission webhooks: configurations are missing", "name", f.Configuration, "missing", missing)
	}
	f.missing = missing
	return found, nil
}

// bundlesIn are those of a configuration's webhooks, in their order.
func bundlesIn(configuration client.Object) (bundles [][]byte) {
	switch configuration := configuration.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range configuration.Webhooks {
			bundles = append(bundles, configuration.Webhooks[i].ClientConfig.CABundle)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range configuration.Webhooks {
			bundles = append(bundles, configuration.Webhooks[i].ClientConfig.CABundle)
		}
	}
	return bundles
}

// trust puts CAs into the configurations that are there, and returns when to look at them again.
func (f *follower) trust(ctx context.Context, cas []byte) (again time.Duration, err error) {
	found, err := f.registered(ctx)
	if err != nil {
		return 0, err
	}
	var bundles [][]byte
	for _, r := range found {
		bundles = append(bundles, r.bundles...)
	}
	f.strangers = f.strangers.see(bundles, cas, f.Clock.Now())
	for _, r := range found {
		wait, err := f.put(ctx, r, cas)
		if err != nil && !f.isTrustedIn(bundles) {
			err = fmt.Errorf("%w: %w", errUntrusted, err)
		}
		if err != nil {
			return 0, err
		}
		again = sooner(again, wait)
	}
	return again, nil
}

// isTrustedIn reports whether each bundle has the CA of what is served, if something is.
func (f *follower) isTrustedIn(bundles [][]byte) bool {
	serving := f.state.serving.Load()
	if serving == nil {
		return false
	}
	for _, bundle := range bundles {
		trusted := parse(bundle)
		for _, ca := range parse(serving.ca) {
			if !holds(trusted, ca) {
				return false
			}
		}
	}
	return true
}

// put makes each webhook of a configuration trusted by a CA, and returns when to look at it again.
func (f *follower) put(ctx context.Context, r registration, ca []byte) (again time.Duration, err error) {
	patch, again, err := f.patchOf(r, ca)
	if err != nil || patch == nil {
		return again, err
	}
	kind := fmt.Sprintf("%T", r.Object)
	err = f.client.Patch(ctx, r.Object, client.RawPatch(types.JSONPatchType, patch))
	if isOvertaken(err) {
		return 0, fmt.Errorf("put the CA into the %s: somebody else has written it meanwhile; it is tried again: %w", kind, err)
	}
	if err != nil {
		return 0, fmt.Errorf("put the CA into the %s: %w", kind, err)
	}
	ctrl.LoggerFrom(ctx).Info("Put the CA into a webhook configuration", "configuration", kind)
	return again, nil
}

// isOvertaken reports whether the test of a patch failed. The API server names neither an object nor a cause then, as it does
// for what is wrong with an object.
func isOvertaken(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Name == "" && len(details.Causes) == 0
}

// patchOf is the patch that gives each webhook its bundle, or nil if each has it.
func (f *follower) patchOf(r registration, ca []byte) (patch []byte, again time.Duration, err error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value string `json:"value"`
	}
	operations := []operation{{"test", "/metadata/resourceVersion", r.GetResourceVersion()}}
	for i, present := range r.bundles {
		bundle, wait := bundleOf(present, ca, f.strangers, f.Clock.Now())
		again = sooner(again, wait)
		if !bytes.Equal(bundle, present) {
			operations = append(operations, operation{"add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), base64.StdEncoding.EncodeToString(bundle)})
		}
	}
	if len(operations) == 1 {
		return nil, again, nil
	}
	patch, err = json.Marshal(operations)
	return patch, again, err
}

// serve serves a certificate that the API server was told to trust, or returns how long to wait until it has
// learnt so. The first one is served at once: there is nothing better. After a change, the CA of what was served before
// is to be looked at.
func (f *follower) serve(ctx context.Context, current *served) (wait time.Duration) {
	serving := f.state.serving.Load()
	if serving != nil && bytes.Equal(serving.tls, current.tls) {
		f.next = nil
		return 0
	}
	if serving != nil && !bytes.Equal(serving.ca, current.ca) {
		if f.next == nil || !bytes.Equal(f.next.tls, current.tls) {
			current.seen = f.Clock.Now()
			f.next = current
		}
		if left := f.Settle - f.Clock.Since(f.next.seen); left > 0 {
			return left
		}
	}
	f.next = nil
	f.state.serving.Store(current)
	ctrl.LoggerFrom(ctx).Info("Serving a new certificate", "until", current.pair.Leaf.NotAfter)
	if serving != nil {
		return time.Second
	}
	return 0
}
