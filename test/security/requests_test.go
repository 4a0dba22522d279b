package security

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// longestLine is what a line of the decision log has at the most, in bytes. docs/operations.md tells what is cut.
const longestLine = 64 << 10

// TestRequests: what anybody can have the API server ask who may send requests to it, and send to the webhooks who reaches
// them.
func TestRequests(t *testing.T) {
	s := newSite(t, nil, "--decision-log=all", "--decision-log-groups")
	t.Run("huge selectors", s.hugeSelectors)
	t.Run("large objects", s.largeObjects)
	t.Run("long questions, slowly", s.longQuestions)
	t.Run("large reviews, slowly", s.largeReviews)
}

// hugeSelectors: huge questions are answered no, with a reason, and the others are answered all the while.
func (s *site) hugeSelectors(t *testing.T) {
	g := NewWithT(t)
	long := strings.Repeat("x", 63)
	for what, tc := range map[string]struct {
		selector labels.Selector
		want     string
	}{
		"2,000 labels of the longest kind": {existing(t, 2000, func(i int) string { return fmt.Sprintf("in.grantry.dev/%s%05d", long[:58], i) }), "may not"},
		"10,000 values":                    {anyOf(t, 10_000, long[:55]), "may not"},
		"10,000 requirements":              {existing(t, 10_000, func(i int) string { return fmt.Sprintf("l%d", i) }), "may not"},
		"40,000 requirements":              {existing(t, 40_000, func(i int) string { return fmt.Sprintf("l%d", i) }), "shorter selector"},
	} {
		var err error
		for deadline := time.Now().Add(waitFor); ; { // the API server waits three seconds for an answer
			err = s.alice.List(t.Context(), &v1alpha1.JobList{}, client.InNamespace(instance), client.MatchingLabelsSelector{Selector: tc.selector})
			if err == nil || apierrors.IsForbidden(err) || time.Now().After(deadline) {
				break
			}
		}
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 8<<10 {
			t.Errorf("%s: %.500v", what, err)
		}
	}
	err := s.alice.Get(t.Context(), client.ObjectKey{Namespace: instance, Name: strings.Repeat("x", 100_000)}, &v1alpha1.Job{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "nothing in Grantry has such a name") {
		t.Errorf("a name of 100,000 characters: %.500v", err)
	}

	memory, peak := residentBytes(t, s.operator.PID()), watch(t, s.operator.PID())
	huge := existing(t, 30_000, func(i int) string { return fmt.Sprintf("l%d", i) })
	var askers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 16 {
		askers.Go(func() {
			for ctx.Err() == nil {
				// Where many are asked on a busy machine, the API server may give up before an answer comes.
				if s.alice.List(ctx, &v1alpha1.JobList{}, client.InNamespace(instance), client.MatchingLabelsSelector{Selector: huge}) == nil {
					t.Error("one of many huge questions is allowed")
					return
				}
			}
		})
	}
	for range 20 {
		g.Eventually(func() error { return s.list(t.Context()) }).WithTimeout(waitFor).Should(Succeed(), "an ordinary question")
	}
	stop()
	askers.Wait()
	most := peak()
	t.Logf("memory %d MiB before and %d MiB at the most", memory>>20, most.memory>>20)
	if most.memory > mostMemory {
		t.Errorf("the operator had %d MiB, more than %d", most.memory>>20, mostMemory>>20)
	}
	s.shortLines(t)
}

// shortLines holds the operator's output against the length that its lines may have.
func (s *site) shortLines(t *testing.T) {
	t.Helper()
	log, err := os.Open(filepath.Join(s.dir, "operator.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, longestLine)
	decisions := 0
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"webhook":"authorization"`) {
			decisions++
		}
	}
	if err := lines.Err(); err != nil || decisions == 0 {
		t.Errorf("after %d decisions: %v", decisions, err)
	}
}

func existing(t *testing.T, many int, name func(int) string) labels.Selector {
	t.Helper()
	requirements := make([]labels.Requirement, many)
	for i := range requirements {
		r, err := labels.NewRequirement(name(i), selection.Exists, nil)
		if err != nil {
			t.Fatal(err)
		}
		requirements[i] = *r
	}
	return labels.NewSelector().Add(requirements...)
}

func anyOf(t *testing.T, many int, prefix string) labels.Selector {
	t.Helper()
	values := make([]string, many)
	for i := range values {
		values[i] = fmt.Sprintf("%s%06d", prefix, i)
	}
	r, err := labels.NewRequirement("in.grantry.dev/other", selection.In, values)
	if err != nil {
		t.Fatal(err)
	}
	return labels.NewSelector().Add(*r)
}

// largeObjects: what is large is taken or refused with a reason, and both webhooks answer in time.
func (s *site) largeObjects(t *testing.T) {
	text := strings.Repeat("x", 1_000_000)
	large := job("dev.large")
	large.Spec.Run, large.Spec.Template = nil, template(corev1.EnvVar{Name: "A", Value: text})
	labelled := job("dev.labelled")
	labelled.Labels = map[string]string{}
	for i := range 1000 {
		labelled.Labels[fmt.Sprintf("example.com/l%d", i)] = strings.Repeat("v", 63)
	}
	update := func() error {
		changed := &v1alpha1.Job{}
		if err := s.alice.Get(t.Context(), client.ObjectKeyFromObject(large), changed); err != nil {
			return err
		}
		changed.Spec.Template.Spec.Template.Spec.Containers[0].Env[0].Value = "y" + text[1:]
		return s.alice.Update(t.Context(), changed)
	}
	updateAgain := func() error { return retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, update) } // with the operator
	for _, tc := range []struct {
		what, want string // empty: taken
		send       func() error
	}{
		{"a Job of 1 MB", "", func() error { return s.alice.Create(t.Context(), large) }},
		{"its update, old and new", "", updateAgain},
		{"a Job of 1,000 labels", "", func() error { return s.alice.Create(t.Context(), labelled) }},
		{"a Grant to 1,000 subjects", "", func() error { return s.admin.Create(t.Context(), grant("many", 1000)) }},
		{"a Grant to 10,000 subjects", "must have at most 1000 items", func() error { return s.admin.Create(t.Context(), grant("more", 10_000)) }},
		{"a Group of 1,000 members", "", func() error { return s.admin.Create(t.Context(), group("many", 1000)) }},
		{"a Group of 10,000 members", "must have at most 1000 items", func() error { return s.admin.Create(t.Context(), group("more", 10_000)) }},
	} {
		began := time.Now()
		err := tc.send()
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %.500v", tc.what, err)
		case tc.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %.500v", tc.what, err)
		}
		t.Logf("%s: %s", tc.what, time.Since(began).Round(time.Millisecond))
	}
	NewWithT(t).Eventually(func() error { return s.inForce(t.Context(), "dev.large", "dev.labelled") }).WithTimeout(waitFor).Should(Succeed())
	if answer := s.postJob(t, strings.Repeat(`{"a":`, 20_000)+"1"+strings.Repeat("}", 20_000)); !strings.Contains(answer, "exceeded max depth") {
		t.Errorf("a template of 20,000 levels: %.500s", answer)
	}
	// Who sends to the port itself can send more than the API server ever does.
	if err := post(t.Context(), newConnections(), s.deletion(8<<20), "too large"); err != nil {
		t.Errorf("a review of 8 MiB: %.500v", err)
	}
}

// inForce says which of some Jobs the operator has not accepted.
func (s *site) inForce(ctx context.Context, names ...string) error {
	var missing []error
	for _, name := range names {
		object := &v1alpha1.Job{}
		if err := s.admin.Get(ctx, client.ObjectKey{Namespace: instance, Name: name}, object); err != nil {
			missing = append(missing, err)
		} else if !meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionReady) {
			missing = append(missing, fmt.Errorf("%s: %v", name, object.Status.Conditions))
		}
	}
	return errors.Join(missing...)
}

// postJob sends a Job with a template, as alice, and returns the answer.
func (s *site) postJob(t *testing.T, template string) string {
	t.Helper()
	config := s.user(t, "alice").Config()
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	text := `{"apiVersion": "grantry.dev/v1alpha1", "kind": "Job", "metadata": {"name": "dev.deep"}, "spec": {"template": ` + template + `}}`
	response, err := c.Post(strings.TrimSuffix(config.Host, "/")+"/apis/grantry.dev/v1alpha1/namespaces/"+instance+"/jobs", "application/json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func template(variable corev1.EnvVar) *batchv1.JobTemplateSpec {
	return &batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "main", Image: "busybox", Env: []corev1.EnvVar{variable}}},
	}}}}
}

func subjects(many int) []v1alpha1.Subject {
	list := make([]v1alpha1.Subject, many)
	for i := range list {
		list[i] = v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: fmt.Sprintf("user-%d", i)}
	}
	return list
}

func grant(name string, many int) *v1alpha1.Grant {
	return &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GrantSpec{ACL: "dev", Subjects: subjects(many), Actions: []v1alpha1.Action{v1alpha1.ActionRead}}}
}

func group(name string, many int) *v1alpha1.Group {
	return &v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GroupSpec{Members: subjects(many)}}
}
