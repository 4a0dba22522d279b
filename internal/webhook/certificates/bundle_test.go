package certificates

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// ca makes a CA that is valid from a time on.
func ca(t *testing.T, from time.Time) []byte {
	t.Helper()
	artifacts, err := (&rotator.CertRotator{CAName: "test"}).CreateCACert(from, from.Add(10*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return artifacts.CertPEM
}

// TestBundleOf: what is in the bundle beside the current CA was seen there first at noon.
func TestBundleOf(t *testing.T) {
	t.Parallel()
	// The current one may be older than those before it: somebody else made it.
	older, old, current := ca(t, noon.Add(-time.Hour)), ca(t, noon.Add(-time.Minute)), ca(t, noon.Add(-20*time.Hour))
	expired := ca(t, noon.Add(-11*24*time.Hour))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cases := map[string]struct {
		present, current []byte
		at               time.Time
		want             []byte
		wantAgain        time.Duration
	}{
		"the first CA":                       {current: current, at: noon, want: current},
		"nothing is new":                     {present: current, current: current, at: noon, want: current},
		"a new one joins the old":            {present: old, current: current, at: noon, want: join(current, old), wantAgain: overlap},
		"and again":                          {present: join(current, old), current: current, at: noon.Add(overlap - time.Minute), want: join(current, old), wantAgain: time.Minute},
		"another replica's may come first":   {present: join(old, current), current: current, at: noon, want: join(old, current), wantAgain: overlap},
		"the old one goes in time":           {present: join(current, old), current: current, at: noon.Add(overlap), want: current},
		"three in a row":                     {present: join(old, older), current: current, at: noon, want: join(current, old, older), wantAgain: overlap},
		"an expired one goes at once":        {present: join(expired, current), current: current, at: noon, want: current},
		"what is no certificate goes":        {present: join([]byte("x\n"), old), current: current, at: noon, want: join(current, old), wantAgain: overlap},
		"a CA that can't be read is not put": {present: old, current: []byte("x"), at: noon, want: old},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := strangers(nil).see([][]byte{tc.present}, tc.current, noon)
			got, again := bundleOf(tc.present, tc.current, seen, tc.at)
			if !bytes.Equal(got, tc.want) || again != tc.wantAgain {
				t.Errorf("bundleOf() = %d certificates, again in %v; want %d, in %v", len(parse(got)), again, len(parse(tc.want)), tc.wantAgain)
			}
		})
	}
}

// TestBundleOf_twoReplicas: two that have different CAs come to one bundle that holds both, whichever is newer, and rest.
func TestBundleOf_twoReplicas(t *testing.T) {
	t.Parallel()
	one, other := ca(t, noon.Add(-time.Minute)), ca(t, noon.Add(-20*time.Hour))
	bundle, writes := []byte(nil), 0
	for range 10 {
		for _, current := range [][]byte{one, other} {
			now, _ := bundleOf(bundle, current, strangers(nil).see([][]byte{bundle}, current, noon), noon)
			if !bytes.Equal(now, bundle) {
				bundle, writes = now, writes+1
			}
		}
	}
	if writes != 2 || len(parse(bundle)) != 2 {
		t.Errorf("%d writes, and %d CAs are trusted; want 2 of each", writes, len(parse(bundle)))
	}
}

// TestSee: a CA is known from when it was seen first, for as long as it is there.
func TestSee(t *testing.T) {
	t.Parallel()
	one, other, own := ca(t, noon.Add(-time.Hour)), ca(t, noon.Add(-time.Minute)), ca(t, noon)
	raw := func(text []byte) string { return string(parse(text)[0].Raw) }
	first := strangers(nil).see([][]byte{one, own}, own, noon)
	if diff := cmp.Diff(strangers{raw(one): noon}, first); diff != "" {
		t.Error(diff)
	}
	later := noon.Add(time.Minute)
	if diff := cmp.Diff(strangers{raw(one): noon, raw(other): later}, first.see([][]byte{other, one}, own, later)); diff != "" {
		t.Error(diff)
	}
	gone := first.see([][]byte{own}, own, later)
	if diff := cmp.Diff(strangers{raw(one): later}, gone.see([][]byte{one}, own, later)); diff != "" {
		t.Errorf("it came back: %s", diff)
	}
}
