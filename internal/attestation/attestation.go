// Package attestation lets admission say of an object, in the object, that it has judged exactly this spec, so
// that every replica may believe it at once.
//
// An attestation is an annotation with a message authentication code (HMAC-SHA256) over the kind, the name and
// the spec, under a key that only the operator's replicas have. It is for one state of one object: a creation's
// is bound to the time at which the object was created, as an object has no UID yet when it is made; a change's
// to the UID and the generation. So it can be copied neither to another object, nor back to an older spec, nor
// to an object of the same name that is created later.
//
// It bridges the time until the operator's leader has written the same into the object's status, which needs no
// key. Without the key, or with another one, nothing is attested, and the status alone counts.
package attestation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/grantry/grantry/api/v1alpha1"
)

// KeySize is the length of a key in bytes.
const KeySize = 32

// creationSkew is how far the creation of an object may lie from its attestation: the rest of the request,
// retries of the API server, and clocks that differ.
const creationSkew = time.Minute

// firstGeneration is that of an object that was created and not changed.
const firstGeneration = 1

// Key makes and verifies attestations. A key of another length than KeySize does neither.
type Key []byte

// State is what an attestation is about. The spec is one of ours, and is not changed.
type State struct {
	Kind, Name string
	UID        types.UID // empty at creation
	Generation int64
	Spec       any
}

// Attest is the value of the annotation for a state that admission lets in. An object whose name is not known
// yet can't be attested.
func (k Key) Attest(s State, at time.Time) (string, bool) {
	if len(k) != KeySize || s.Name == "" {
		return "", false
	}
	seconds := at.Unix()
	code, ok := k.code(s, seconds)
	if !ok {
		return "", false
	}
	return strconv.FormatInt(seconds, 10) + "." + base64.RawURLEncoding.EncodeToString(code), true
}

// Holds reports whether the object carries an attestation of what it is now. State's UID and generation are
// taken from the object.
func (k Key) Holds(kind string, object metav1.Object, spec any) bool {
	stamp, text, ok := strings.Cut(object.GetAnnotations()[v1alpha1.AnnotationAdmitted], ".")
	if !ok || len(k) != KeySize {
		return false
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return false
	}
	given, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	s := State{Kind: kind, Name: object.GetName(), UID: object.GetUID(), Generation: object.GetGeneration(), Spec: spec}
	if s.Generation == firstGeneration {
		if object.GetCreationTimestamp().Time.Sub(time.Unix(seconds, 0)).Abs() > creationSkew {
			return false
		}
		s.UID = ""
	}
	want, ok := k.code(s, seconds)
	return ok && hmac.Equal(want, given)
}

// code is over the JSON of a struct, which Go writes in one way only.
func (k Key) code(s State, seconds int64) ([]byte, bool) {
	text, err := json.Marshal(struct {
		State
		Seconds int64
	}{s, seconds})
	if err != nil {
		return nil, false
	}
	mac := hmac.New(sha256.New, k)
	mac.Write(text)
	return mac.Sum(nil), true
}

// ParseKey reads a key as a Secret holds it.
func ParseKey(data []byte) (Key, error) {
	if len(data) != KeySize {
		return nil, fmt.Errorf("the attestation key has %d bytes instead of %d", len(data), KeySize)
	}
	return Key(data), nil
}
