package serving

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Callers says who may call: who has a certificate of an authority. The zero value is everybody.
type Callers struct {
	// CAFile holds the authority's certificate, in PEM. It may be replaced at any time.
	CAFile string
	// Names are the common names of the certificates that may call; empty for whatever the authority signed.
	Names []string
}

// require returns the configuration of a server that asks for a client certificate. The CA is read anew for each
// connection, of which an API server keeps few: so a replaced file counts at once, and a broken one lets nobody in.
func (c Callers) require(base *tls.Config) (*tls.Config, error) {
	base = base.Clone()
	base.MinVersion, base.NextProtos = tls.VersionTLS12, []string{"h2", "http/1.1"}
	if c.CAFile == "" {
		return base, nil
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	base.ClientAuth, base.VerifyConnection = tls.RequireAndVerifyClientCert, c.verify
	with := base.Clone()
	with.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := c.authorities()
		if err != nil {
			return nil, err
		}
		config := base.Clone()
		config.ClientCAs = pool
		return config, nil
	}
	return with, nil
}

// Check says what is wrong with the file of the authority.
func (c Callers) Check() error {
	if c.CAFile == "" {
		return nil
	}
	_, err := c.authorities()
	return err
}

// verify also sees resumed connections, whose certificate was verified when they began.
func (c Callers) verify(state tls.ConnectionState) error {
	if len(c.Names) == 0 {
		return nil
	}
	if len(state.PeerCertificates) == 0 || !slices.Contains(c.Names, state.PeerCertificates[0].Subject.CommonName) {
		return errors.New("this certificate may not call")
	}
	return nil
}

func (c Callers) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the webhook's callers: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
	}
	return pool, nil
}
