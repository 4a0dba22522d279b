package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/webhook/admission"
	"github.com/grantry/grantry/internal/webhook/certificates"
	"github.com/grantry/grantry/internal/webhook/serving"
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
	callers  serving.Callers

	certificates certificates.Certificates
}

func (o *admissionOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.address, "admission-bind-address", "", "Address of the admission webhooks; unset turns them off")
	f.StringVar(&o.secret, "admission-secret", "grantry-admission", "Secret for the CA, the certificate and the attestation key of the admission webhooks; it must exist")
	f.StringVar(&o.foreign, "admission-certificate-secret", "", "Secret with a certificate for the admission webhooks that something else keeps up to date, such as cert-manager: tls.crt, tls.key and ca.crt; unset lets Grantry make it")
	f.StringVar(&o.space, "admission-secret-namespace", "grantry-system", "Namespace of these Secrets")
	f.StringSliceVar(&o.dnsNames, "admission-dns-names", []string{"grantry-admission.grantry-system.svc"}, "Names under which the API server calls the admission webhooks")
	f.StringVar(&o.callers.CAFile, "admission-client-ca", "", "File with the CA of the certificates that may call the admission webhooks; unset lets everybody call who reaches the port")
	f.StringSliceVar(&o.callers.Names, "admission-client-names", nil, "Common names of the certificates that may call the admission webhooks; unset is every one that the CA signed")
}

// server is where the admission webhooks are answered.
func (o *admissionOptions) server(store *policystore.Store) (*admission.Server, error) {
	if len(o.callers.Names) > 0 && o.callers.CAFile == "" {
		return nil, errors.New("--admission-client-names: whose certificates these are is for --admission-client-ca to say")
	}
	if err := o.callers.Check(); err != nil {
		return nil, fmt.Errorf("--admission-client-ca: %w", err)
	}
	config := &tls.Config{}
	o.certificates.TLS(config)
	return &admission.Server{Address: o.address, TLS: config, Callers: o.callers, CanDecide: store.Synced}, nil
}

// certificateSettings say for what certificates are made.
func (o *admissionOptions) certificateSettings() certificates.Settings {
	settings := certificates.Settings{
		Secret:        types.NamespacedName{Namespace: o.space, Name: o.secret},
		Configuration: admissionConfiguration, DNSNames: o.dnsNames, Clock: clock.RealClock{},
	}
	if o.foreign != "" {
		settings.Secret.Name, settings.Foreign = o.foreign, true
	}
	return settings
}

// setUpAdmission returns the server of the admission webhooks, for every replica, or nothing if no address is set.
func (o *options) setUpAdmission(ctx context.Context, mgr ctrl.Manager, store *policystore.Store, observe observers) ([]manager.Runnable, error) {
	if o.admission.address == "" {
		return nil, nil
	}
	if len(o.admission.dnsNames) == 0 {
		return nil, errors.New("--admission-dns-names: at least one is needed")
	}
	server, err := o.admission.server(store)
	if err != nil {
		return nil, err
	}
	direct, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	operator, err := whoAmI(ctx, direct)
	if err != nil {
		return nil, err
	}
	key, err := admission.LoadKey(ctx, direct, types.NamespacedName{Namespace: o.admission.space, Name: o.admission.secret})
	if err != nil {
		return nil, err
	}
	store.Rule = policystore.Rule{Admission: true, Key: key}
	if err := o.admission.certificates.Setup(mgr, o.admission.certificateSettings()); err != nil {
		return nil, err
	}
	if err := admission.Setup(mgr, server, admission.Settings{
		Policy: store, Clock: clock.RealClock{}, Mode: o.Mode, Operator: operator, Rule: store.Rule, Log: observe.log, Traces: observe.traces,
	}); err != nil {
		return nil, err
	}
	if err := mgr.AddReadyzCheck("admission", server.StartedChecker()); err != nil {
		return nil, err
	}
	return []manager.Runnable{server}, mgr.AddReadyzCheck("certificates", o.admission.certificates.ReadyCheck)
}

// whoAmI asks the API server under which name it knows this operator.
func whoAmI(ctx context.Context, c client.Client) (string, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return "", fmt.Errorf("ask the API server who this is: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}
