package attestation_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/attestation"
)

var (
	noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	key  = attestation.Key(bytes.Repeat([]byte{7}, attestation.KeySize))
)

func bobsGrant() *v1alpha1.Grant {
	end := metav1.NewTime(noon.Add(time.Hour))
	return &v1alpha1.Grant{
		ObjectMeta: metav1.ObjectMeta{Name: "bob", UID: types.UID("1-2-3"), Generation: 1, CreationTimestamp: metav1.NewTime(noon)},
		Spec: v1alpha1.GrantSpec{
			ACL: "dev", Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "bob"}},
			Actions: []v1alpha1.Action{v1alpha1.ActionRead}, ExpiresAt: &end,
			GrantedBy: &v1alpha1.Identity{Username: "mary", Groups: []string{"leads"}},
		},
	}
}

// attested is the Grant after a creation that admission let in at a time.
func attested(t *testing.T, at time.Time) *v1alpha1.Grant {
	t.Helper()
	g := bobsGrant()
	value, ok := key.Attest(attestation.State{Kind: "Grant", Name: g.Name, Generation: 1, Spec: g.Spec}, at)
	if !ok {
		t.Fatal("not attested")
	}
	g.Annotations = map[string]string{v1alpha1.AnnotationAdmitted: value}
	return g
}

// changed is the Grant after a change that admission let in.
func changed(t *testing.T) *v1alpha1.Grant {
	t.Helper()
	g := bobsGrant()
	g.Generation, g.CreationTimestamp = 5, metav1.NewTime(noon.AddDate(-1, 0, 0))
	value, ok := key.Attest(attestation.State{Kind: "Grant", Name: g.Name, UID: g.UID, Generation: 5, Spec: g.Spec}, noon)
	if !ok {
		t.Fatal("not attested")
	}
	g.Annotations = map[string]string{v1alpha1.AnnotationAdmitted: value}
	return g
}

func TestHolds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		made func(*testing.T) *v1alpha1.Grant
		edit func(*v1alpha1.Grant)
		key  attestation.Key
		kind string
		want bool
	}{
		"a creation":                        {want: true},
		"a change":                          {made: changed, want: true},
		"another UID at creation":           {edit: func(g *v1alpha1.Grant) { g.UID = "9" }, want: true},
		"another UID later":                 {made: changed, edit: func(g *v1alpha1.Grant) { g.UID = "9" }},
		"another generation":                {made: changed, edit: func(g *v1alpha1.Grant) { g.Generation = 6 }},
		"a creation's, of a later state":    {edit: func(g *v1alpha1.Grant) { g.Generation = 2 }},
		"a change's, of the first state":    {made: changed, edit: func(g *v1alpha1.Grant) { g.Generation, g.CreationTimestamp = 1, metav1.NewTime(noon) }},
		"another name":                      {edit: func(g *v1alpha1.Grant) { g.Name = "eve" }},
		"another kind":                      {kind: "Group"},
		"another key":                       {key: bytes.Repeat([]byte{8}, attestation.KeySize)},
		"a key that is too short":           {key: []byte{7}},
		"another subject":                   {edit: func(g *v1alpha1.Grant) { g.Spec.Subjects[0].Name = "eve" }},
		"another writer":                    {edit: func(g *v1alpha1.Grant) { g.Spec.GrantedBy.Username = "eve" }},
		"another group of the writer":       {edit: func(g *v1alpha1.Grant) { g.Spec.GrantedBy.Groups[0] = "system:masters" }},
		"no end":                            {edit: func(g *v1alpha1.Grant) { g.Spec.ExpiresAt = nil }},
		"created a minute later":            {edit: func(g *v1alpha1.Grant) { g.CreationTimestamp = metav1.NewTime(noon.Add(time.Minute)) }, want: true},
		"created again, much later":         {edit: func(g *v1alpha1.Grant) { g.CreationTimestamp = metav1.NewTime(noon.Add(2 * time.Minute)) }},
		"created long before it was let in": {edit: func(g *v1alpha1.Grant) { g.CreationTimestamp = metav1.NewTime(noon.Add(-2 * time.Minute)) }},
		"no annotation":                     {edit: func(g *v1alpha1.Grant) { g.Annotations = nil }},
		"another time in the annotation":    {made: changed, edit: stamp(func(s string) string { return "2" + s[1:] })},
		"no time in the annotation":         {edit: stamp(func(s string) string { _, code, _ := strings.Cut(s, "."); return "." + code })},
		"no code in the annotation":         {edit: stamp(func(s string) string { at, _, _ := strings.Cut(s, "."); return at + "." })},
		"no separator in the annotation":    {edit: stamp(func(s string) string { return strings.ReplaceAll(s, ".", "") })},
		"a code that is no code":            {edit: stamp(func(s string) string { return s + "!" })},
		"labels don't matter":               {edit: func(g *v1alpha1.Grant) { g.Labels = map[string]string{"a": "b"} }, want: true},
		"status does not matter":            {edit: func(g *v1alpha1.Grant) { g.Status.ValidatedGeneration = 1 }, want: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := tc.made
			if made == nil {
				made = func(t *testing.T) *v1alpha1.Grant { t.Helper(); return attested(t, noon) }
			}
			g := made(t)
			if tc.edit != nil {
				tc.edit(g)
			}
			k, kind := key, "Grant"
			if tc.key != nil {
				k = tc.key
			}
			if tc.kind != "" {
				kind = tc.kind
			}
			if got := k.Holds(kind, g, g.Spec); got != tc.want {
				t.Errorf("Holds() = %t, want %t", got, tc.want)
			}
		})
	}
}

func stamp(edit func(string) string) func(*v1alpha1.Grant) {
	return func(g *v1alpha1.Grant) {
		g.Annotations[v1alpha1.AnnotationAdmitted] = edit(g.Annotations[v1alpha1.AnnotationAdmitted])
	}
}

// What the API server stores and sends back is the same spec.
func TestHolds_afterARoundTrip(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(attested(t, noon))
	if err != nil {
		t.Fatal(err)
	}
	back := &v1alpha1.Grant{}
	if err := json.Unmarshal(text, back); err != nil {
		t.Fatal(err)
	}
	if !key.Holds("Grant", back, back.Spec) {
		t.Error("not attested any more")
	}
}

func TestAttest_needsANameAKeyAndASpec(t *testing.T) {
	t.Parallel()
	g := bobsGrant()
	if _, ok := key.Attest(attestation.State{Kind: "Grant", Generation: 1, Spec: g.Spec}, noon); ok {
		t.Error("attested without a name")
	}
	if _, ok := attestation.Key(nil).Attest(attestation.State{Kind: "Grant", Name: "bob", Generation: 1, Spec: g.Spec}, noon); ok {
		t.Error("attested without a key")
	}
	if _, ok := key.Attest(attestation.State{Kind: "Grant", Name: "bob", Spec: func() {}}, noon); ok {
		t.Error("attested what can't be written")
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	if _, err := attestation.ParseKey([]byte("short")); err == nil || !strings.Contains(err.Error(), "5 bytes instead of 32") {
		t.Errorf("ParseKey() = %v", err)
	}
	if k, err := attestation.ParseKey(key); err != nil || !bytes.Equal(k, key) {
		t.Errorf("ParseKey() = %v, %v", k, err)
	}
}
