package batchjob

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	operatorLike   = "LIKE"
	operatorUnlike = "UNLIKE"
)

// NeedsNodeLabels says whether a child depends on the labels of the nodes: whether the Job has a LIKE or
// UNLIKE constraint with an effect.
func NeedsNodeLabels(job *v1alpha1.Job) bool {
	return job.Spec.Run != nil && job.Spec.Run.Placement != nil &&
		slices.ContainsFunc(job.Spec.Run.Placement.Constraints, func(c v1alpha1.Constraint) bool {
			return c.Value != "" && (c.Operator == operatorLike || c.Operator == operatorUnlike)
		})
}

// placement makes constraints to one required node affinity. LIKE and UNLIKE become the values that nodes
// have now, as Kubernetes knows no regular expressions: a node that joins later counts for the next run.
// A node that lacks the label satisfies UNLIKE and nothing else.
func (m *mapping) placement() {
	if m.spec.Placement == nil {
		return
	}
	var term corev1.NodeSelectorTerm
	for i, constraint := range m.spec.Placement.Constraints {
		if constraint.Value == "" {
			continue
		}
		path := m.path.Child("placement", "constraints").Index(i)
		requirement, holds := m.requirement(constraint, path)
		if !holds {
			term.MatchExpressions = append(term.MatchExpressions, requirement)
		}
	}
	if len(term.MatchExpressions) == 0 {
		return
	}
	m.pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}},
	}}
}

// requirement is a constraint as Kubernetes knows it, or that it holds on every node (or has been refused).
func (m *mapping) requirement(c v1alpha1.Constraint, path *field.Path) (requirement corev1.NodeSelectorRequirement, holds bool) {
	key, err := nodeLabel(c.Attribute)
	if err != nil {
		m.invalid(path.Child("attribute"), c.Attribute, err.Error())
		return requirement, true
	}
	if c.Operator != operatorLike && c.Operator != operatorUnlike { // IS or EQ
		if problems := validation.IsValidLabelValue(c.Value); len(problems) > 0 {
			m.invalid(path.Child("value"), c.Value, "no node label can have this value: "+strings.Join(problems, "; "))
		}
		return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{c.Value}}, false
	}
	// The value alone first: it must be whole, and the message must speak of what was written.
	if _, err := regexp.Compile(c.Value); err != nil {
		m.invalid(path.Child("value"), c.Value, fmt.Sprintf("is not a regular expression of RE2: %s", err))
		return requirement, true
	}
	values := m.matchingValues(key, regexp.MustCompile(`\A(?:`+c.Value+`)\z`))
	if c.Operator == operatorUnlike {
		return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpNotIn, Values: values}, len(values) == 0
	}
	if len(values) == 0 {
		m.unmatched = append(m.unmatched, fmt.Sprintf("%s: no node has a label %s that is LIKE %q", path, key, c.Value))
		return requirement, true
	}
	return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}, false
}

// nodeLabel is the key of the node label that an attribute stands for.
func nodeLabel(attribute string) (string, error) {
	switch attribute {
	case "hostname", "@hostname":
		return corev1.LabelHostname, nil
	case "@region":
		return corev1.LabelTopologyRegion, nil
	case "@zone":
		return corev1.LabelTopologyZone, nil
	}
	if problems := validation.IsQualifiedName(attribute); len(problems) > 0 {
		return "", fmt.Errorf("is not hostname, @region, @zone or the key of a node label: %s", strings.Join(problems, "; "))
	}
	return attribute, nil
}

// matchingValues are the different values that nodes have and an expression matches, sorted.
func (m *mapping) matchingValues(key string, whole *regexp.Regexp) []string {
	var values []string
	for _, labels := range m.nodes {
		if value, found := labels[key]; found && whole.MatchString(value) {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}
