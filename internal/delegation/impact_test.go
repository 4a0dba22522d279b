package delegation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

func job(path string, owner string, running bool, onRevoke delegation.Revocation) delegation.Job {
	return delegation.Job{Resource: permission.JobResource("metronome", path), Owner: user(owner), Running: running, OnRevoke: onRevoke}
}

func TestImpactOf(t *testing.T) {
	t.Parallel()
	jobs := []delegation.Job{
		job("marketing.email.a", "eve", true, delegation.Suspend), job("marketing.email.b", "mary", true, delegation.Delete),
		job("marketing.web", "eve", true, delegation.Delete), job("marketing.print", "eve", false, delegation.Suspend),
		job("marketing", "eve", true, delegation.Finish), job("dev.a", "eve", true, delegation.Suspend),
	}
	cases := map[string]struct {
		change effective.Change
		want   []string
	}{
		"nothing changes":                          {change: effective.SetGrant(*grant("mary", "marketing", permission.Full, user("mary")))},
		"a Grant goes that another one gives, too": {change: effective.DeleteGrant("tom-too"), want: nil},
		"a Grant goes": {change: effective.DeleteGrant("eve"), want: []string{
			"1 subject loses create, read, update, delete on 5 jobs", "4 jobs could not be launched any more",
			"1 running job would be suspended", "1 running job would be ended and deleted",
		}},
		"full goes, and with it everything": {change: effective.DeleteGrant("mary"), want: []string{
			"1 subject loses full on 5 jobs", "1 job could not be launched any more", "1 running job would be ended and deleted",
		}},
		"two subjects gain on two jobs": {change: effective.SetGrant(*grant("new", "email", permission.Read, user("bob"), user("ann"))), want: []string{
			"2 subjects gain read on 2 jobs",
		}},
		"a group is one, and each of its members": {change: effective.DeleteGrant("team"), want: []string{"2 subjects lose read on 2 jobs"}},
		"a member leaves":                         {change: effective.SetGroup(effective.Group{Name: "team"}), want: []string{"1 subject loses read on 2 jobs"}},
		"an ACL goes":                             {change: effective.DeleteACL("email"), want: []string{"2 subjects lose read on 2 jobs"}},
		"a window closes":                         {change: effective.SetGrant(*until(grant("team", "email", permission.Read, group("team")), noon)), want: []string{"2 subjects lose read on 2 jobs"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := office()
			got := delegation.ImpactOf(before, before.Apply(tc.change), noon, jobs).Sentences()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestImpactOf_saysThatItDidNotLookAtEverything(t *testing.T) {
	t.Parallel()
	var jobs []delegation.Job
	for i := range 10_000 {
		jobs = append(jobs, job(fmt.Sprintf("dev.j%d", i), "", false, delegation.Finish))
	}
	var subjects []effective.Subject
	for i := range 20 {
		subjects = append(subjects, user(fmt.Sprint("u", i)))
	}
	before := office()
	got := delegation.ImpactOf(before, before.Apply(effective.SetGrant(*grant("g", "dev", permission.Read, subjects...))), noon, jobs)
	if diff := cmp.Diff([]string{"at least 2 subjects gain read on 10000 jobs"}, got.Sentences()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestImpact_tellsOfTheFirstShares(t *testing.T) {
	t.Parallel()
	i := delegation.Impact{Gained: []delegation.Share{
		{Actions: permission.Read, Subjects: 9, Jobs: 1},
		{Actions: permission.Run, Subjects: 8, Jobs: 1},
		{Actions: permission.Delete, Subjects: 7, Jobs: 1},
		{Actions: permission.Create, Subjects: 6, Jobs: 1},
	}}
	want := []string{
		"9 subjects gain read on 1 job", "8 subjects gain run on 1 job", "7 subjects gain delete on 1 job",
		"others gain other actions, or on other numbers of jobs",
	}
	if diff := cmp.Diff(want, i.Sentences()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGivesNothingNew(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		grant *effective.Grant
		want  bool
	}{
		"mary has it":                     {grant: grant("g", "email", permission.Read, user("mary")), want: true},
		"the Grant itself does not count": {grant: grant("mary", "marketing", permission.Full, user("mary"))},
		"tom has it for a shorter time":   {grant: grant("g", "email", permission.Read, user("tom"))},
		"tom has it as long":              {grant: until(grant("g", "email", permission.Read, user("tom")), friday), want: true},
		"eve has no full":                 {grant: grant("g", "email", permission.Full, user("eve"))},
		"one of two has not":              {grant: grant("g", "email", permission.Read, user("mary"), user("bob"))},
		"there is no ACL":                 {grant: grant("g", "later", permission.Read, user("mary"))},
		"there is nobody":                 {grant: grant("g", "email", permission.Read)},
		"there is nothing":                {grant: grant("g", "email", 0, user("mary"))},
	}
	for name, tc := range cases {
		if got := delegation.GivesNothingNew(office(), *tc.grant, noon); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

// The API server waits for the answer: 10,000 Jobs and 100,000 Grants take as long as 10,000 Jobs and few.
func BenchmarkImpactOf(b *testing.B) {
	in := effective.Input{ACLs: []effective.ACL{acl("dev", jobs+"dev")}}
	for i := range 100_000 {
		name := fmt.Sprint("g", i)
		in.ACLs = append(in.ACLs, acl(name, jobs+fmt.Sprint("t", i%1000, ".a", i)))
		in.Grants = append(in.Grants, *grant(name, name, permission.Read, user(fmt.Sprint("u", i%10_000))))
	}
	before, _ := effective.Build(in)
	var all []delegation.Job
	for i := range 10_000 {
		all = append(all, job(fmt.Sprintf("dev.j%d", i), fmt.Sprint("u", i), true, delegation.Suspend))
	}
	after := before.Apply(effective.SetGrant(*grant("new", "dev", permission.Read, user("u1"), user("u2"), user("u3"), user("u4"), user("u5"))))
	b.ResetTimer()
	for b.Loop() {
		delegation.ImpactOf(before, after, noon, all)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(time.Millisecond), "ms/answer")
}
