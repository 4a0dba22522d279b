package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/webhook/admission"
	"github.com/grantry/grantry/internal/webhook/certificates"
)

// admissionConfiguration is the name of the two webhook configurations in config/webhook.
const admissionConfiguration = "grantry"

// admissionOptions are the flags of the admission webhooks.
type admissionOptions struct {
	address  string
	secret   string
	foreign  string
	space    string
	dnsNames []string

	certificates certificates.Certificates
}

func (o *admissionOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.address, "admission-bind-address", "", "Address of the admission webhooks; unset turns them off")
	f.StringVar(&o.secret, "admission-secret", "grantry-admission", "Secret for the CA, the certificate and the attestation key of the admission webhooks; it must exist")
	f.StringVar(&o.foreign, "admission-certificate-secret", "", "Secret with a certificate for the admission webhooks that something else keeps up to date, such as cert-manager: tls.crt, tls.key and ca.crt; unset lets Grantry make it")
	f.StringVar(&o.space, "admission-secret-namespace", "grantry-system", "Namespace of these Secrets")
	f.StringSliceVar(&o.dnsNames, "admission-dns-names", []string{"grantry-admission.grantry-system.svc"}, "Names under which the API server calls the admission webhooks")
}

// server is the webhook server of the manager; it listens once webhooks are registered with it.
func (o *admissionOptions) server() (webhook.Server, error) {
	if o.address == "" {
		return nil, nil //nolint:nilnil // the manager's default, which nothing starts
	}
	host, port, err := net.SplitHostPort(o.address)
	if err != nil {
		return nil, fmt.Errorf("--admission-bind-address: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("--admission-bind-address: %w", err)
	}
	return &webhook.DefaultServer{Options: webhook.Options{Host: host, Port: int(number), TLSOpts: []func(*tls.Config){o.certificates.TLS}}}, nil
}

// setUpAdmission adds the admission webhooks, on every replica, if an address is set.
func (o *options) setUpAdmission(ctx context.Context, mgr ctrl.Manager, store *policystore.Store, observe observers) error {
	if o.admission.address == "" {
		return nil
	}
	if len(o.admission.dnsNames) == 0 {
		return errors.New("--admission-dns-names: at least one is needed")
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	operator, err := whoAmI(ctx, direct)
	if err != nil {
		return err
	}
	secret := types.NamespacedName{Namespace: o.admission.space, Name: o.admission.secret}
	key, err := admission.LoadKey(ctx, direct, secret)
	if err != nil {
		return err
	}
	store.Rule = policystore.Rule{Admission: true, Key: key}
	settings := certificates.Settings{
		Secret:        secret,
		Configuration: admissionConfiguration, DNSNames: o.admission.dnsNames, Clock: clock.RealClock{},
	}
	if o.admission.foreign != "" {
		settings.Secret.Name, settings.Foreign = o.admission.foreign, true
	}
	if err := o.admission.certificates.Setup(mgr, settings); err != nil {
		return err
	}
	if err := admission.Setup(mgr, admission.Settings{
		Policy: store, Clock: clock.RealClock{}, Mode: o.Mode, Operator: operator, Rule: store.Rule, Log: observe.log, Traces: observe.traces,
	}); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("admission", mgr.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("certificates", o.admission.certificates.ReadyCheck)
}

// whoAmI asks the API server under which name it knows this operator.
func whoAmI(ctx context.Context, c client.Client) (string, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return "", fmt.Errorf("ask the API server who this is: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}
