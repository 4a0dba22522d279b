package cluster

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/bench/internal/load"
	"github.com/grantry/grantry/bench/internal/report"
)

// latencyWanted is how many times what a webhook adds that does nothing.
const latencyWanted = 1.2

// asTable is what kubectl get asks for.
const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

// asked is a kind of request that a user sends.
type asked struct {
	name string
	send func(ctx context.Context, c rest.Interface, job string) error
}

var requests = []asked{
	{name: "get of a job", send: getJob},
	{name: "SelfSubjectAccessReview", send: reviewSelf},
}

// getJob asks as kubectl get does.
func getJob(ctx context.Context, c rest.Interface, job string) error {
	return c.Get().AbsPath("/apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, "namespaces", namespace, "jobs", job).
		SetHeader("Accept", asTable).Do(ctx).Error()
}

// reviewSelf asks as kubectl auth can-i does.
func reviewSelf(ctx context.Context, c rest.Interface, job string) error {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: namespace, Name: job, Verb: "get", Group: v1alpha1.GroupVersion.Group, Version: "*", Resource: "jobs",
	}}}
	err := c.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").Body(review).Do(ctx).Into(review)
	if err == nil && !review.Status.Allowed {
		err = fmt.Errorf("not allowed: %s %s", review.Status.Reason, review.Status.EvaluationError)
	}
	return err
}

// latency sends the same requests as three users, of whom each is allowed by another authorizer, in turns.
func (s *site) latency(ctx context.Context) (report.Section, error) {
	section := report.Section{Name: "latency"}
	rows := [][]string{{"request", "allowed by", "p50", "p99", "added at p50"}}
	for _, r := range requests {
		s.say("%s: %s times as each user", r.name, report.Count(s.Requests))
		times, err := s.race(ctx, r)
		if err != nil {
			return section, fmt.Errorf("%s: %w", r.name, err)
		}
		base := load.Quantile(times[byRBAC], 0.5)
		for _, user := range []struct{ name, what string }{
			{byRBAC, "RBAC"}, {byNothing, "a webhook that does nothing"}, {byGrantry, "Grantry"},
		} {
			p50 := load.Quantile(times[user.name], 0.5)
			added := "—"
			if user.name != byRBAC {
				added = report.Duration(p50 - base)
			}
			rows = append(rows, []string{r.name, user.what, report.Duration(p50), report.Duration(load.Quantile(times[user.name], 0.99)), added})
		}
		ratio := float64(load.Quantile(times[byGrantry], 0.5)-base) / float64(load.Quantile(times[byNothing], 0.5)-base)
		section.Bars = append(section.Bars, report.Bar{
			What: "API server: latency that Grantry adds to a " + r.name + ", of what a webhook adds that does nothing", Measured: fmt.Sprintf("%.2f×", ratio),
			Wanted: fmt.Sprintf("≤ %.1f×", latencyWanted), Met: ratio <= latencyWanted,
		})
	}
	section.Body = fmt.Sprintf("%s grants in the API server, the operator beside it; %s requests of each user, one at a time, the users in turns. Nothing is cached.\n\n",
		report.Count(s.Grants), report.Count(s.Requests)) + report.Table(rows)
	return section, nil
}

// race returns how long each user's requests took.
func (s *site) race(ctx context.Context, r asked) (map[string][]time.Duration, error) {
	users := []string{byRBAC, byNothing, byGrantry}
	clients := map[string]rest.Interface{}
	for _, user := range users {
		c, err := s.rest(user)
		if err != nil {
			return nil, err
		}
		clients[user] = c
	}
	times := map[string][]time.Duration{}
	warmUp := s.Requests / 10
	for i := range warmUp + s.Requests {
		for j := range users {
			user := users[(i+j)%len(users)] // nobody is always first
			began := time.Now()
			if err := r.send(ctx, clients[user], jobName(i)); err != nil {
				return nil, fmt.Errorf("as %s: %w", user, err)
			}
			if i >= warmUp {
				times[user] = append(times[user], time.Since(began))
			}
		}
	}
	return times, nil
}

func (s *site) rest(user string) (rest.Interface, error) {
	config, err := s.Config(user)
	if err != nil {
		return nil, err
	}
	config.GroupVersion = &authorizationv1.SchemeGroupVersion
	config.NegotiatedSerializer = codecs
	return rest.UnversionedRESTClientFor(config)
}
