package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/grantry/grantry/internal/conditions"
	"github.com/grantry/grantry/internal/policystore"
)

// patchStatus writes the status of after if a reconcile has changed it since before, a deep copy. The
// patch carries the resource version: a merge patch replaces the whole list of conditions, so it must
// not be written over a state that was not read. An object that is gone needs no status.
func patchStatus[T client.Object](ctx context.Context, c client.StatusClient, before, after T) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Status().Patch(ctx, after, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	return nil
}

// specChanged passes an event that may change what an object means: another generation, the begin of
// its deletion, or another object of the same name, made while the watch was down. Status and labels
// are not the concern of policy.
var specChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
		e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
}}

// maxLeftOut is how many parts of an object a message names that are not served.
const maxLeftOut = 5

// leftOut is a sentence on what is not served, to follow another sentence; empty if all is.
func leftOut(problems []policystore.Problem) string {
	if len(problems) == 0 {
		return ""
	}
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.String()
	}
	return " Left out: " + conditions.List(texts, maxLeftOut) + "."
}

// sentence is an error's text as a sentence.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(text[size:], ".") + "."
}

// count is a number of things: "1 member", "2 members".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
