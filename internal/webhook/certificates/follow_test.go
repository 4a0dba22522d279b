package certificates

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestIsOvertaken: what is wrong with the configuration is wrong the next time, too.
func TestIsOvertaken(t *testing.T) {
	t.Parallel()
	kind := schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"a failed test of a patch": {fmt.Errorf("patch: %w", apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "", 0, false)), true},
		"an invalid object":        {apierrors.NewInvalid(kind, "grantry", field.ErrorList{field.Invalid(field.NewPath("webhooks"), 0, "no")}), false},
		"a conflict":               {apierrors.NewConflict(schema.GroupResource{}, "grantry", errors.New("old")), false},
		"no answer":                {errors.New("connection refused"), false},
	} {
		if got := isOvertaken(tc.err); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
