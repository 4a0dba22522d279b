package effective

import (
	"testing"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

func TestFirst(t *testing.T) {
	s, problems := Build(Input{
		ACLs:   []ACL{{"dev-batch", permission.MustParseResource("dcos:service:metronome:metronome:jobs:dev.batch")}},
		Grants: []Grant{{Name: "read-dev", ACL: "dev-batch", Subjects: []Subject{UserSubject("alice"), GroupSubject("devs")}, Actions: permission.Read}},
		Groups: []Group{{"devs", []Subject{UserSubject("bob")}}},
	})
	t.Log(problems)
	q := Query{User: UserSubject("alice"), Resource: permission.JobResource("metronome", "dev.batch.job1"), AnyOf: permission.Run, At: time.Now()}
	t.Log(s.Explain(q))
	q.AnyOf = permission.Read
	t.Log(s.Explain(q))
	q.User = UserSubject("bob")
	t.Log(s.Explain(q))
	q.Resource = permission.JobResource("metronome", "dev")
	t.Log(s.Explain(q))
	t.Log(testing.AllocsPerRun(100, func() {
		s.Decide(Query{User: UserSubject("bob"), Groups: []string{"a", "b"}, Resource: permission.JobResource("metronome", "dev.batch.job1"), AnyOf: permission.Run, At: time.Now()})
	}))
}
