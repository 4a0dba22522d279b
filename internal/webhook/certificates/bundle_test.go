package certificates

import (
	"bytes"
	"testing"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// ca makes a CA as the rotator does at a time: valid from an hour before.
func ca(t *testing.T, made time.Time) []byte {
	t.Helper()
	artifacts, err := (&rotator.CertRotator{CAName: "test"}).CreateCACert(made.Add(-time.Hour), made.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return artifacts.CertPEM
}

func TestBundleOf(t *testing.T) {
	t.Parallel()
	older, old, current := ca(t, noon.Add(-time.Hour)), ca(t, noon.Add(-time.Minute)), ca(t, noon)
	expired := ca(t, noon.Add(-48*time.Hour))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cases := map[string]struct {
		present, current []byte
		at               time.Time
		want             []byte
		wantAgain        time.Duration
	}{
		"the first CA":                       {current: current, at: noon, want: current},
		"nothing is new":                     {present: current, current: current, at: noon, want: current},
		"a new one joins the old":            {present: old, current: current, at: noon, want: join(current, old), wantAgain: time.Hour},
		"and again":                          {present: join(current, old), current: current, at: noon.Add(59 * time.Minute), want: join(current, old), wantAgain: time.Minute},
		"the old one goes in time":           {present: join(current, old), current: current, at: noon.Add(time.Hour), want: current},
		"three in a row":                     {present: join(old, older), current: current, at: noon, want: join(current, old, older), wantAgain: time.Hour},
		"an expired one goes at once":        {present: join(expired, current), current: current, at: noon, want: current},
		"what is no certificate goes":        {present: join([]byte("x\n"), old), current: current, at: noon, want: join(current, old), wantAgain: time.Hour},
		"a CA that can't be read is not put": {present: old, current: []byte("x"), at: noon, want: old},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, again := bundleOf(tc.present, tc.current, tc.at)
			if !bytes.Equal(got, tc.want) || again != tc.wantAgain {
				t.Errorf("bundleOf() = %d certificates, again in %v; want %d, in %v", len(parse(got)), again, len(parse(tc.want)), tc.wantAgain)
			}
		})
	}
}

func TestTrusts(t *testing.T) {
	t.Parallel()
	one, other := ca(t, noon), ca(t, noon)
	for name, tc := range map[string]struct {
		bundle, wanted []byte
		want           bool
	}{
		"held":            {append(bytes.Clone(other), one...), one, true},
		"not held":        {other, one, false},
		"only one of two": {one, append(bytes.Clone(other), one...), false},
		"nothing asked":   {one, nil, false},
	} {
		if got := trusts(tc.bundle, tc.wanted); got != tc.want {
			t.Errorf("%s: trusts() = %v, want %v", name, got, tc.want)
		}
	}
}
