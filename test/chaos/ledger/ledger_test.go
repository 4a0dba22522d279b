package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// sound is a record in which everything is as it must be: alice may always, bob never, and carol not from second 100 to
// 200. Carol's run c2 was created within the absence and launched after it, and c3 was under way when it began.
func sound() *Record {
	r := &Record{
		Absences: map[string][]Absence{
			"bob":   {{}},
			"carol": {{From: at(100), Until: at(200), Window: 30 * time.Second}},
		},
		Schedules: []Schedule{{Name: "s", First: noon, Last: noon.Add(4 * time.Minute)}},
		Outages:   []Outage{{From: at(130), Until: at(170)}},
	}
	r.add("a1", "alice", 10, 11)
	r.add("a2", "alice", 150, 151)
	r.add("c1", "carol", 50, 51)
	r.add("c2", "carol", 150, 201)
	r.add("c3", "carol", 99, 101)
	r.Runs = append(r.Runs, Run{UID: "b1", Name: "b1", Owner: "bob", Asked: at(20), State: "Pending"})
	for minute := range 5 {
		if minute != 2 { // from 120 s to 180 s something was broken
			name := fmt.Sprintf("s-%d", minute)
			r.add(name, "alice", 60*minute, 60*minute+1)
			r.Runs[len(r.Runs)-1].Schedule, r.Runs[len(r.Runs)-1].At = "s", at(60*minute)
		}
	}
	for second := 0; second < 300; second += 5 {
		for _, user := range []string{"alice", "bob", "carol"} {
			q := Request{User: user, What: "get", Began: at(second), Ended: at(second + 1), Outcome: Allowed}
			if user == "bob" || user == "carol" && second >= 115 && second < 205 {
				q.Outcome = Refused
			}
			r.Requests = append(r.Requests, q)
		}
	}
	return r
}

// add adds a run and its child, by the seconds of their creation.
func (r *Record) add(name, owner string, created, launched int) {
	r.Runs = append(r.Runs, Run{UID: name, Name: name, Owner: owner, Asked: at(created), Succeeded: true, State: "Success"})
	r.Children = append(r.Children, Child{UID: name + "-child", Run: name, Asked: at(launched), Answered: at(launched).Add(time.Millisecond)})
}

// run is a run of the record.
func (r *Record) run(name string) *Run {
	for i := range r.Runs {
		if r.Runs[i].Name == name {
			return &r.Runs[i]
		}
	}
	return nil
}

// TestCheck doctors a sound record: whatever is done to it is found, and nothing else is.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		doctor func(*Record)
		want   []string
	}{
		{name: "nothing is wrong", doctor: func(*Record) {}},
		{
			name:   "a run is gone",
			doctor: func(r *Record) { r.run("a1").Gone = true },
			want:   []string{"lost: run a1 of alice is gone"},
		},
		{
			name:   "a run without permission is gone",
			doctor: func(r *Record) { r.run("b1").Gone = true },
			want:   []string{"lost: run b1 of bob is gone"},
		},
		{
			name: "a run was never launched",
			doctor: func(r *Record) {
				r.Children = r.Children[1:]
				r.run("a1").Succeeded, r.run("a1").State = false, "Pending"
			},
			want: []string{"lost: run a1 of alice was never launched: it is Pending"},
		},
		{
			name:   "a run succeeded without a child",
			doctor: func(r *Record) { r.Children = r.Children[1:] },
			want:   []string{"lost: run a1 of alice was never launched: it is Success"},
		},
		{
			name: "a run missed its deadline by a clock that was wrong",
			doctor: func(r *Record) {
				r.Children = slices.DeleteFunc(r.Children, func(c Child) bool { return c.Run == "a2" })
				r.run("a2").Succeeded, r.run("a2").State, r.run("a2").TooLate = false, "StartingDeadlineExceeded", true
				r.Outages[0].WrongClock = true
			},
		},
		{
			name: "a run missed its deadline by a clock that was right",
			doctor: func(r *Record) {
				r.Children = slices.DeleteFunc(r.Children, func(c Child) bool { return c.Run == "a2" })
				r.run("a2").Succeeded, r.run("a2").State, r.run("a2").TooLate = false, "StartingDeadlineExceeded", true
			},
			want: []string{"lost: run a2 of alice was never launched: it is StartingDeadlineExceeded"},
		},
		{
			name:   "a run has failed",
			doctor: func(r *Record) { r.run("a1").Succeeded, r.run("a1").State = false, "Failed" },
			want:   []string{"lost: run a1 of alice has not ended well: it is Failed"},
		},
		{
			name: "a run has had two children, the first of which is gone",
			doctor: func(r *Record) {
				r.Children = append(r.Children, Child{UID: "other", Run: "a1", Asked: at(12), Answered: at(12)})
			},
			want: []string{"twice: run a1 of alice has had 2 children"},
		},
		{
			name:   "one child is written down twice",
			doctor: func(r *Record) { r.Children = append(r.Children, r.Children[0]) },
		},
		{
			name: "bob's run was launched",
			doctor: func(r *Record) {
				r.Children = append(r.Children, Child{UID: "x", Run: "b1", Asked: at(21), Answered: at(21)})
			},
			want: []string{"unauthorized: run b1 of bob was created " + at(20).Sub(time.Time{}).String() + " into an absence and launched 1s later"},
		},
		{
			name:   "a run that was created in an absence was launched in it",
			doctor: func(r *Record) { r.Children[3].Asked, r.Children[3].Answered = at(152), at(153) },
			want:   []string{"unauthorized: run c2 of carol was created 50s into an absence and launched 2s later"},
		},
		{
			name:   "a run from before an absence was launched long after its begin",
			doctor: func(r *Record) { r.Children[4].Asked, r.Children[4].Answered = at(121), at(122) },
			want:   []string{"unauthorized: run c3 of carol was launched 21s into an absence"},
		},
		{
			name: "a run was created, as the API server said, and is nowhere",
			doctor: func(r *Record) {
				r.Requests = append(r.Requests, Request{User: "dave", What: "create", Began: at(5), Ended: at(6), Outcome: Allowed, Creates: "a9"})
			},
			want: []string{"lost: run a9 was created, and there is no word of it"},
		},
		{
			name: "a run was created as was said, and another one was not",
			doctor: func(r *Record) {
				r.Requests = append(r.Requests,
					Request{User: "dave", What: "create", Began: at(5), Ended: at(6), Outcome: Allowed, Creates: "a1"},
					Request{User: "dave", What: "create", Began: at(5), Ended: at(6), Outcome: Failed, Creates: "a9"})
			},
		},
		{
			name: "bob was allowed something",
			doctor: func(r *Record) {
				r.Requests = append(r.Requests, Request{User: "bob", What: "list", Began: at(5), Ended: at(6), Outcome: Allowed})
			},
			want: []string{"allowed: bob may list, " + at(5).Sub(time.Time{}).String() + " into an absence"},
		},
		{
			name: "carol was allowed something when every replica had to know",
			doctor: func(r *Record) {
				r.Requests = append(r.Requests, Request{User: "carol", What: "list", Began: at(131), Ended: at(132), Outcome: Allowed})
			},
			want: []string{"allowed: carol may list, 31s into an absence"},
		},
		{
			name: "carol was allowed something that began before that, or ended when she might again",
			doctor: func(r *Record) {
				r.Requests = append(
					r.Requests,
					Request{User: "carol", What: "list", Began: at(129), Ended: at(140), Outcome: Allowed},
					Request{User: "carol", What: "list", Began: at(199), Ended: at(201), Outcome: Allowed},
					Request{User: "carol", What: "list", Began: at(150), Ended: at(151), Outcome: Failed},
				)
			},
		},
		{
			name:   "a scheduled time has no run, and nothing was broken",
			doctor: func(r *Record) { r.run("s-3").Schedule = "another" },
			want:   []string{"lost: schedule s has had no run for 12:03:00"},
		},
		{
			name:   "a scheduled time has two runs",
			doctor: func(r *Record) { r.run("s-4").At = at(180) },
			want: []string{
				"twice: schedule s has had 2 runs for 12:03:00",
				"lost: schedule s has had no run for 12:04:00",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := sound()
			tc.doctor(r)
			var got []string
			for _, v := range Check(r) {
				got = append(got, v.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
