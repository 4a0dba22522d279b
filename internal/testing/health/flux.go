package health

import (
	"testing"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Expressions are an entry of spec.healthCheckExprs of a Kustomization of Flux.
type Expressions struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	InProgress string `json:"inProgress,omitempty"`
	Failed     string `json:"failed,omitempty"`
	Current    string `json:"current"`
}

// Flux is what a Kustomization with such expressions computes: by the entry of the object's kind, or else by kstatus.
// Flux looks first whether the generation was observed, then at inProgress, failed and current; the first that is true
// is the answer, and InProgress if none is.
func Flux(tb testing.TB, entries []Expressions, obj *unstructured.Unstructured) string {
	tb.Helper()
	for _, e := range entries {
		if e.APIVersion != obj.GetAPIVersion() || e.Kind != obj.GetKind() {
			continue
		}
		observed, found, err := unstructured.NestedInt64(obj.Object, "status", "observedGeneration")
		if err != nil || found && observed != obj.GetGeneration() {
			return "InProgress"
		}
		for _, answer := range []struct{ says, expression string }{
			{"InProgress", e.InProgress}, {"Failed", e.Failed}, {"Current", e.Current},
		} {
			if answer.expression != "" && holds(tb, answer.expression, obj) {
				return answer.says
			}
		}
		return "InProgress"
	}
	return KStatus(tb, obj)
}

// holds evaluates an expression on an object, whose fields are its variables. Flux does not compile what it parses.
func holds(tb testing.TB, expression string, obj *unstructured.Unstructured) bool {
	tb.Helper()
	env, err := cel.NewEnv(cel.CrossTypeNumericComparisons(true), cel.OptionalTypes())
	if err != nil {
		tb.Fatal(err)
	}
	parsed, issues := env.Parse(expression)
	if issues.Err() != nil {
		tb.Fatalf("%s: %v", expression, issues.Err())
	}
	program, err := env.Program(parsed)
	if err != nil {
		tb.Fatalf("%s: %v", expression, err)
	}
	result, _, err := program.Eval(obj.Object)
	if err != nil {
		tb.Fatalf("%s on %s %s: %v", expression, obj.GetKind(), obj.GetName(), err)
	}
	answer, isBool := result.Value().(bool)
	if !isBool {
		tb.Fatalf("%s is %v, want true or false", expression, result)
	}
	return answer
}
