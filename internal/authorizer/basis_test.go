package authorizer

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/internal/permission"
)

// TestAuthorize_tellsWhatItRestsOn: the family that decided, and what was asked up to the first no.
func TestAuthorize_tellsWhatItRestsOn(t *testing.T) {
	t.Parallel()
	const mesos, slave = "dcos:adminrouter:ops:mesos full", "dcos:adminrouter:ops:slave full"
	job1 := batchID + ".job1 read"
	podID := jobsID + ":dev.batch.job1 read"
	pinned := []metav1.LabelSelectorRequirement{exists("in.grantry.dev/dev"), exists(inBatch)}
	cases := map[string]struct {
		held    []string
		ask     *Request
		strict  bool
		verdict Verdict
		family  permission.Family
		refused bool
		asked   []string // permission string, action and, for a yes, Grant and ACL
	}{
		"allowed":               {held: []string{batchID + " read"}, ask: request("get jobs dev.batch.job1"), verdict: Allow, family: permission.FamilyJobs, asked: []string{job1 + " g0 a0"}},
		"refused":               {held: []string{batchID + " read"}, ask: request("delete jobs dev.batch.job1"), family: permission.FamilyJobs, refused: true, asked: []string{batchID + ".job1 delete"}},
		"by a superuser":        {held: []string{"dcos:superuser full"}, ask: request("get jobs dev.batch.job1"), verdict: Allow, family: permission.FamilySuperuser, asked: []string{job1 + " g0 a0"}},
		"a selector":            {held: []string{batchID + " read"}, ask: request("list jobs", pinned...), verdict: Allow, family: permission.FamilyJobs, asked: []string{batchID + " read g0 a0"}},
		"a selector of another": {ask: request("list jobs", exists(inBatch)), family: permission.FamilyJobs, refused: true, asked: []string{batchID + " read"}},
		"a create":              {held: []string{batchID + " create"}, ask: request("create jobs"), verdict: Allow, family: permission.FamilyJobs, asked: []string{jobsID + " create g0 a0"}},
		"a create of nothing":   {ask: request("create jobs"), family: permission.FamilyJobs, refused: true, asked: []string{jobsID + " create"}},
		"policy":                {ask: request("get grants g"), family: permission.FamilyAdminRouter, refused: true, asked: []string{"dcos:adminrouter:acs full"}},
		"a pod":                 {held: []string{batchID + " read", mesos}, ask: request("get pods r1"), verdict: Allow, family: permission.FamilyJobs, asked: []string{podID + " g0 a0", mesos + " g1 a1"}},
		"a pod's log":           {held: []string{batchID + " read", mesos}, ask: request("get pods/log r1"), family: permission.FamilyAdminRouter, refused: true, asked: []string{podID + " g0 a0", mesos + " g1 a1", slave}},
		"a pod that is hidden":  {held: []string{mesos}, ask: request("get pods r1"), family: permission.FamilyJobs, refused: true, asked: []string{podID}},
		"a pod, strict":         {held: []string{mesos, slave}, ask: request("create pods/exec r1"), strict: true, verdict: Deny, family: permission.FamilyRole, refused: true, asked: []string{mesos + " g0 a0", slave + " g1 a1", "dcos:mesos:master:framework:role:* read"}},
		"a run of no Job":       {ask: request("get jobruns none"), family: permission.FamilyJobs, refused: true, asked: []string{jobsID + " read"}},
		"a subresource":         {ask: request("update jobs/status dev"), refused: true},
		"the pod of no run":     {ask: request("get pods none")},
		"not guarded":           {ask: request("get services x")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mode := permission.ModePermissive
			if tc.strict {
				mode = permission.ModeStrict
			}
			tc.ask.Basis = &Basis{}
			got := newAuthorizer(mode, grants(tc.held...)).Authorize(t.Context(), tc.ask)
			if got.Verdict != tc.verdict || got.Family != tc.family || got.Refused() != tc.refused {
				t.Errorf("%+v, refused: %t", got, got.Refused())
			}
			var asked []string
			for _, a := range tc.ask.Basis.Answers {
				text := a.Resource.String() + " " + a.AnyOf.String()
				if a.Verdict.Allowed {
					text += " " + a.Verdict.Grant + " " + a.Verdict.ACL
				}
				asked = append(asked, text)
			}
			if !slices.Equal(asked, tc.asked) {
				t.Errorf("asked %q, want %q", asked, tc.asked)
			}
		})
	}
}
