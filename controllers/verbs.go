package controllers

import (
	"context"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/utils/clock"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/delegation"
)

// verbMemory is how long an answer about the RBAC verb "grant" is believed: a look at 100,000 Grants asks about
// each of their granters.
const verbMemory = time.Minute

// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// reviewer asks the API server, by SubjectAccessReview.
type reviewer struct {
	reviews authorizationv1client.SubjectAccessReviewInterface
	clock   clock.PassiveClock

	mu      sync.Mutex
	answers map[verbQuestion]verbAnswer
}

type verbQuestion struct{ who, acl string }

type verbAnswer struct {
	holds bool
	until time.Time
}

// holdsGrant asks about all ACLs first: most who hold the verb hold it on all.
func (r *reviewer) holdsGrant(ctx context.Context, who *v1alpha1.Identity, acl string) (bool, error) {
	if all, err := r.ask(ctx, who, ""); err != nil || all || acl == "" {
		return all, err
	}
	return r.ask(ctx, who, acl)
}

func (r *reviewer) ask(ctx context.Context, who *v1alpha1.Identity, acl string) (bool, error) {
	key := verbQuestion{who: who.Username + "\n" + strings.Join(who.Groups, "\n"), acl: acl}
	now := r.clock.Now()
	if a, ok := r.remembered(key); ok && now.Before(a.until) {
		return a.holds, nil
	}
	review, err := r.reviews.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: who.Username, Groups: groupsOf(who),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: delegation.Verb, Group: v1alpha1.GroupVersion.Group, Version: "*", Resource: "acls", Name: acl,
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	holds := review.Status.Allowed && !review.Status.Denied
	r.remember(key, verbAnswer{holds: holds, until: now.Add(verbMemory)}, now)
	return holds, nil
}

func (r *reviewer) remembered(key verbQuestion) (verbAnswer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.answers[key]
	return a, ok
}

// maxAnswers bounds what is remembered; beyond it, what is out of date goes, and if that is not enough, all.
const maxAnswers = 100_000

func (r *reviewer) remember(key verbQuestion, a verbAnswer, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) >= maxAnswers {
		for k, old := range r.answers {
			if !now.Before(old.until) {
				delete(r.answers, k)
			}
		}
	}
	if r.answers == nil || len(r.answers) >= maxAnswers {
		r.answers = map[verbQuestion]verbAnswer{}
	}
	r.answers[key] = a
}
