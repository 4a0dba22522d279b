package authorizer

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pods decides a request on pods. Only those of runs are guarded.
func (c *call) pods(ctx context.Context) Decision {
	rec := podRecipe(c.Request)
	switch {
	case rec == noRecipe || !c.isSane():
		return Decision{Kind: Pods}
	case !c.load():
		return c.unavailable() // whose a pod is may have changed as well as what is granted
	case c.isPinned():
		return c.pinnedPods(ctx, rec)
	case c.Name == "":
		return c.openPodList(ctx, rec)
	}
	job, err := c.Lookup.JobOfPod(ctx, c.Namespace, c.Name)
	switch {
	case errors.Is(err, ErrNotFound) && c.isFiltered():
		return c.openPodList(ctx, rec) // the pod may come
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrOfNoRun):
		return Decision{Kind: Pods}
	case err != nil:
		return c.unknown("Pod", err)
	}
	c.asked.of(rec, c.isStrict(), c.Namespace, c.instance(), job)
	no := c.decide()
	if no < 0 {
		return c.allow()
	}
	if failed := c.asked.items[no]; c.mayName(failed, job) {
		return c.refuse(c.brief(failed))
	}
	if !c.isStrict() {
		return c.decided(Decision{}) // as if it were the pod of no run
	}
	return c.unknown("Pod", ErrNotFound)
}

// isPinned reports whether a label selector limits the request to pods of runs. A list that is not pinned
// also shows others, which is not Grantry's to allow.
func (c *call) isPinned() bool {
	if !c.isFiltered() {
		return false
	}
	for i := range c.pins() {
		if _, _, ok := subtree(&c.Requirements[i]); ok || isOfRuns(&c.Requirements[i]) {
			return true
		}
	}
	return false
}

func isOfRuns(r *metav1.LabelSelectorRequirement) bool { return r.Key == runLabel && narrows(r) }

// pinnedPods decides a request on the pods of runs that a label selector leaves, or on one of them. The
// selector comes first and has the last word, so that no answer tells whether a pod of the name exists.
func (c *call) pinnedPods(ctx context.Context, rec recipe) Decision {
	if c.holdsPin(rec) {
		return c.allow()
	}
	if c.Name != "" {
		job, err := c.Lookup.JobOfPod(ctx, c.Namespace, c.Name)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrOfNoRun):
		case err != nil:
			return c.unknown("Pod", err)
		default:
			c.asked.of(rec, c.isStrict(), c.Namespace, c.instance(), job)
			if c.decide() < 0 {
				return c.allow()
			}
			c.holdsPin(rec)
		}
	}
	return c.missing()
}

// holdsPin asks for the pods of each subtree that the request is pinned to, and for those of all runs if it
// is pinned to these, until the answer is yes.
func (c *call) holdsPin(rec recipe) bool {
	ofRuns := false
	for i := range c.pins() {
		ofRuns = ofRuns || isOfRuns(&c.Requirements[i])
		if path, _, ok := subtree(&c.Requirements[i]); ok {
			c.asked.of(rec, c.isStrict(), c.Namespace, c.instance(), path)
			if c.decide() < 0 {
				return true
			}
		}
	}
	if !ofRuns {
		return false
	}
	c.asked.of(rec, c.isStrict(), c.Namespace, c.instance(), "")
	return c.decide() < 0
}

// openPodList decides a list of all pods, or of one that is not there: in strict mode, where Jobs are, only those may list who may see
// the pods of all of them, and then RBAC decides.
func (c *call) openPodList(ctx context.Context, rec recipe) Decision {
	if !c.isStrict() {
		return Decision{Kind: Pods}
	}
	holdsJobs, err := c.Lookup.HoldsJobs(ctx, c.Namespace)
	if err != nil {
		d := c.refuse("Grantry can't tell whether the namespace holds Jobs")
		d.Err = err
		return d
	}
	if !holdsJobs {
		return Decision{Kind: Pods}
	}
	c.asked.of(rec, true, c.Namespace, c.instance(), "")
	if c.decide() < 0 {
		return Decision{Kind: Pods}
	}
	return c.missing()
}
