package admission

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
)

// BenchmarkHandler is what the creation of a Job by somebody with a Grant costs, in each of its two calls.
func BenchmarkHandler(b *testing.B) {
	for p, job := range map[phase]any{mutate: newJob("dev.batch.a"), validate: ownedBy("alice", newJob("dev.batch.a"))} {
		b.Run(p.String(), func(b *testing.B) {
			d := dispatch(b, nil)
			hook := d.webhook(p)
			body := review{user: "alice", groups: []string{"devs", "system:authenticated"}, operation: admissionv1.Create, resource: "jobs", object: job}.body(b)
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				hook.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
