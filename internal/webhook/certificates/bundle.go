package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"time"
)

// overlap is how long the CAs before the current one stay in the bundle, counted from the time from which
// the current one is valid. The rotator dates that back by an hour, so that it is an hour in fact: far more
// than replicas and API servers need to learn of the new one.
const overlap = 2 * time.Hour

// bundleOf is the CA bundle that the API server is to trust: the current CA, and as long as that is new, the
// ones that were trusted before. It also returns when it is to be looked at again, or zero.
func bundleOf(present, current []byte, now time.Time) (bundle []byte, again time.Duration) {
	newest := parse(current)
	if len(newest) == 0 {
		return present, 0
	}
	bundle = encode(newest)
	left := newest[0].NotBefore.Add(overlap).Sub(now)
	if left <= 0 {
		return bundle, 0
	}
	for _, ca := range parse(present) {
		if trusts(bundle, encode([]*x509.Certificate{ca})) || now.After(ca.NotAfter) {
			continue
		}
		bundle = append(bundle, encode([]*x509.Certificate{ca})...)
		again = left
	}
	return bundle, again
}

// trusts reports whether a bundle holds every one of some certificates, and at least one.
func trusts(bundle, wanted []byte) bool {
	held := parse(bundle)
	missing := false
	certificates := parse(wanted)
	for _, want := range certificates {
		found := false
		for _, have := range held {
			found = found || bytes.Equal(have.Raw, want.Raw)
		}
		missing = missing || !found
	}
	return len(certificates) > 0 && !missing
}

// parse reads the certificates of a PEM file, without what can't be read.
func parse(text []byte) (certificates []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return certificates
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certificates = append(certificates, c)
		}
	}
}

func encode(certificates []*x509.Certificate) (text []byte) {
	for _, c := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}
