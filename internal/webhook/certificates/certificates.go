// Package certificates gives the admission webhooks' server its certificate, and the API server the CA to
// verify it by.
//
// cert-controller makes CA and certificate and keeps them in a Secret; the leader does that, by Rotate. Every replica
// reads the Secret through the API, which takes milliseconds where a mounted one takes a minute, and puts the
// CA into the webhook configurations. That it does itself, because cert-controller replaces the CA there at
// once, and requests that meet a server with the other one's certificate fail. Here
//
//	Secret has a new CA ─► bundle = new + old ─► every API server has had time ─► the new certificate is served
//	                                                                         a day later ─► bundle = new
//
// so that at each moment whatever is served is trusted.
package certificates

import (
	"crypto/tls"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Settings say for what and for whom certificates are made.
type Settings struct {
	// Secret holds ca.crt, tls.crt and tls.key, and ca.key if they are made here. It must exist then; it may be empty.
	Secret types.NamespacedName
	// Foreign says that something else keeps the Secret up to date, such as cert-manager: it is only followed.
	Foreign bool
	// Configuration is the name of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration.
	Configuration string
	// DNSNames are those under which the API server finds the webhooks, at least one.
	DNSNames []string
	// Settle is how long a CA has to be in the bundle before a certificate of it is served. API servers
	// learn of a bundle by a watch. Zero is DefaultSettle.
	Settle time.Duration
	Clock  clock.PassiveClock
}

// DefaultSettle is ample for a watch.
const DefaultSettle = 30 * time.Second

// Certificates is what is served. Its zero value serves nothing.
type Certificates struct {
	state state
	terms atomic.Int32
}

// TLS makes a server's configuration serve the current certificate.
func (c *Certificates) TLS(config *tls.Config) {
	config.MinVersion = tls.VersionTLS12
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if serving := c.state.serving.Load(); serving != nil {
			return serving.pair, nil
		}
		return nil, errors.New("there is no certificate yet")
	}
}

// Served is the certificate that is served, in PEM, or nil.
func (c *Certificates) Served() []byte {
	if serving := c.state.serving.Load(); serving != nil {
		return serving.tls
	}
	return nil
}

// ReadyCheck is a readiness check: there is a certificate, and the API server is told to trust it.
func (c *Certificates) ReadyCheck(*http.Request) error {
	if why := c.state.unready.Load(); why != nil && *why != "" {
		return errors.New(*why)
	}
	if c.state.serving.Load() == nil {
		return errors.New("the admission webhooks have no certificate yet")
	}
	return nil
}

// Setup starts to follow what is made, with the manager, on every replica.
func (c *Certificates) Setup(mgr ctrl.Manager, s Settings) error {
	if s.Settle == 0 {
		s.Settle = DefaultSettle
	}
	return c.follow(mgr, s)
}
