package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

// overlap is how long a CA that is not, or no longer, in this replica's Secret stays in the bundle, counted from when
// this replica first saw it there: far more than API servers need to learn of a new one, and an upgrade that has come to
// a halt needs for its end, with replicas that have another Secret. Dates in certificates would not do: the CA that comes may be the older one.
const overlap = 24 * time.Hour

// strangers says since when this replica has seen each CA in the bundles that its Secret does not have, by DER bytes.
type strangers map[string]time.Time

// see returns the strangers in some bundles, of which some may be known. A CA that left and comes back is a new one.
func (s strangers) see(bundles [][]byte, current []byte, now time.Time) strangers {
	seen := strangers{}
	for _, bundle := range bundles {
		for _, ca := range parse(bundle) {
			if holds(parse(current), ca) {
				continue
			}
			since, known := s[string(ca.Raw)]
			if !known {
				since = now
			}
			seen[string(ca.Raw)] = since
		}
	}
	return seen
}

// bundleOf is the CA bundle that the API server is to trust: the current CA, and what was trusted before for as long as
// another replica may serve by it. What is in order stays as it is, in its order, or two replicas with different Secrets
// would each put their own first, for ever. It also returns when it is to be looked at again, or zero.
func bundleOf(present, current []byte, seen strangers, now time.Time) (bundle []byte, again time.Duration) {
	newest := parse(current)
	if len(newest) == 0 {
		return present, 0
	}
	var kept []*x509.Certificate
	for _, ca := range parse(present) {
		if !holds(newest, ca) {
			left := seen[string(ca.Raw)].Add(overlap).Sub(now)
			if left <= 0 || now.After(ca.NotAfter) {
				continue
			}
			again = sooner(again, left)
		}
		kept = append(kept, ca)
	}
	for _, ca := range newest {
		if !holds(kept, ca) {
			bundle = append(bundle, encode([]*x509.Certificate{ca})...)
		}
	}
	return append(bundle, encode(kept)...), again
}

// sooner is the shorter of two times to wait, of which zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func holds(certificates []*x509.Certificate, wanted *x509.Certificate) bool {
	return slices.ContainsFunc(certificates, wanted.Equal)
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
