package controllers

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
)

func TestUnlessConflict(t *testing.T) {
	t.Parallel()
	runs := schema.GroupResource{Group: "grantry.dev", Resource: "jobruns"}
	conflict := apierrors.NewConflict(runs, "run", errors.New("changed meanwhile"))
	other := errors.New("connection refused")
	exists := apierrors.NewAlreadyExists(runs, "run")
	again := ctrl.Result{RequeueAfter: conflictRetry}
	cases := map[string]struct {
		err     error
		want    ctrl.Result
		wantErr error
	}{
		"no error":                {},
		"a conflict":              {err: conflict, want: again},
		"a conflict with context": {err: fmt.Errorf("patch status: %w", conflict), want: again},
		"another error":           {err: other, wantErr: other},
		"a name that is taken":    {err: exists, wantErr: exists},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := unlessConflict(tc.err)
			if got != tc.want || !errors.Is(err, tc.wantErr) {
				t.Errorf("unlessConflict() = %v, %v; want %v, %v", got, err, tc.want, tc.wantErr)
			}
		})
	}
}
