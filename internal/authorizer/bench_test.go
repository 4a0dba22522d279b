package authorizer

import (
	"fmt"
	"testing"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// crowd gives each of many users a Grant on a Job of its own, and alice's on dev.batch.
func crowd(grants int) held {
	in := effective.Input{
		ACLs: []effective.ACL{{Name: "dev-batch", Resource: permission.MustParseResource(batchID)}},
		Grants: []effective.Grant{{
			Name: "alice-dev-batch", ACL: "dev-batch", Actions: permission.Read, Subjects: []effective.Subject{effective.UserSubject("alice")},
		}},
	}
	for i := range grants - 1 {
		acl := fmt.Sprintf("acl-%d", i)
		in.ACLs = append(in.ACLs, effective.ACL{Name: acl, Resource: permission.JobResource("metronome", fmt.Sprintf("team%d.app%d", i%100, i))})
		in.Grants = append(in.Grants, effective.Grant{
			Name: fmt.Sprintf("grant-%d", i), ACL: acl, Actions: permission.Read,
			Subjects: []effective.Subject{effective.UserSubject(fmt.Sprintf("user-%d", i/10))},
		})
	}
	s, _ := effective.Build(in)
	return held{s}
}

// paths are the ways through the authorizer, with the allocations that each may make: the reason, and
// on a refusal its sentence.
var paths = map[string]struct {
	request     *Request
	want        Verdict
	allocations float64
}{
	"by name":      {request("get jobs dev.batch.job1"), Allow, 1},
	"by selector":  {request("list jobs", exists("x"), exists(inBatch)), Allow, 1},
	"by run":       {request("get jobruns r1"), Allow, 1},
	"not guarded":  {request("get services x"), NoOpinion, 0},
	"refused":      {request("get jobs dev.other"), NoOpinion, 12},
	"list refused": {request("list jobs"), NoOpinion, 12},
}

func TestAuthorize_allocatesTheReasonOnly(t *testing.T) {
	for name, p := range paths {
		a := newAuthorizer(permission.ModePermissive, crowd(100))
		for _, r := range []*Request{p.request} {
			r.Groups = []string{"system:authenticated", "devs", "staff"}
			if got := a.Authorize(t.Context(), r); got.Verdict != p.want {
				t.Errorf("%s: %s: %q", name, got.Verdict, got.Reason)
			}
			if n := testing.AllocsPerRun(100, func() { a.Authorize(t.Context(), r) }); n > p.allocations {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	for _, size := range []int{10, 1_000, 100_000} {
		a := newAuthorizer(permission.ModePermissive, crowd(size))
		for name, p := range paths {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					a.Authorize(b.Context(), p.request)
				}
			})
		}
	}
}
