package authorizer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// held is a policy that doesn't change.
type held struct{ s *effective.Snapshot }

func (h held) Snapshot() *effective.Snapshot { return h.s }

func (h held) Unavailable() error { return errNotLoaded }

var errNotLoaded = errors.New("nothing is known yet")

// grants gives alice what strings such as "dcos:superuser full" say, each by a Grant g0, g1, … on an ACL
// a0, a1, ….
func grants(texts ...string) held {
	var in effective.Input
	for i, text := range texts {
		id, names, _ := strings.Cut(text, " ")
		actions, err := permission.ParseActions(strings.Split(names, ",")...)
		if err != nil {
			panic(err)
		}
		acl := fmt.Sprintf("a%d", i)
		in.ACLs = append(in.ACLs, effective.ACL{Name: acl, Resource: permission.MustParseResource(id)})
		in.Grants = append(in.Grants, effective.Grant{
			Name: fmt.Sprintf("g%d", i), ACL: acl, Actions: actions, Subjects: []effective.Subject{effective.UserSubject("alice")},
		})
	}
	s, problems := effective.Build(in)
	if len(problems) > 0 {
		panic(problems)
	}
	return held{s}
}

var errDown = errors.New("API server is down")

// objects is a Lookup with the runs "r1" of dev.batch.job1 and "other" of dev.other in every namespace,
// pods of the same names, the pod "plain" of no run, "gone" of one that is gone, and a failure for "down".
type objects struct{ looked int }

func (o *objects) JobOfRun(_ context.Context, _, name string) (string, error) {
	o.looked++
	switch name {
	case "r1":
		return "dev.batch.job1", nil
	case "other":
		return "dev.other", nil
	case "down":
		return "", errDown
	}
	return "", fmt.Errorf("%s %w", name, ErrNotFound)
}

func (o *objects) JobOfPod(ctx context.Context, namespace, name string) (string, error) {
	if name == "plain" {
		return "", fmt.Errorf("%s %w", name, ErrOfNoRun)
	}
	if name == "gone" {
		return "", nil
	}
	return o.JobOfRun(ctx, namespace, name)
}

func (o *objects) HoldsJobs(_ context.Context, namespace string) (bool, error) {
	switch namespace {
	case "down":
		return false, errDown
	case "kube-system":
		return false, nil
	}
	return true, nil
}

func newAuthorizer(mode permission.SecurityMode, policy held) *Authorizer {
	return &Authorizer{
		Policy: policy, Lookup: &objects{}, Clock: testingclock.NewFakePassiveClock(noon), Mode: mode, DefaultInstance: "metronome",
	}
}

// request reads "verb resource[/subresource] [name]" as alice's in the namespace metronome.
func request(text string, requirements ...metav1.LabelSelectorRequirement) *Request {
	parts := strings.Fields(text)
	r := &Request{User: "alice", Verb: parts[0], Group: apiGroup, Namespace: "metronome", Requirements: requirements}
	r.Resource, r.Subresource, _ = strings.Cut(parts[1], "/")
	if r.Resource == "pods" || r.Resource == "services" {
		r.Group = ""
	}
	if len(parts) > 2 {
		r.Name = parts[2]
	}
	return r
}

func exists(key string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpExists}
}

func requires(key string, op metav1.LabelSelectorOperator, values ...string) metav1.LabelSelectorRequirement {
	return metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: values}
}

const (
	jobsID   = "dcos:service:metronome:metronome:jobs"
	batchID  = jobsID + ":dev.batch"
	inBatch  = "in.grantry.dev/dev.batch"
	allowed1 = "Allowed by Grant g0 on ACL a0"
)

// TestAuthorize_table has the rows of the design's request table.
func TestAuthorize_table(t *testing.T) {
	t.Parallel()
	many := make([]metav1.LabelSelectorRequirement, maxPins+1)
	for i := range many {
		many[i] = exists("x")
	}
	many[maxPins] = exists(inBatch)
	const hint = "; a label selector in.grantry.dev/<path> asks for the jobs at and below a path only"
	cases := map[string]struct {
		held   []string
		ask    *Request
		want   bool
		reason string
		other  bool // what Grantry has no opinion on, in any mode
	}{
		"get a job":                      {held: []string{batchID + " read"}, ask: request("get jobs dev.batch.job1"), want: true, reason: allowed1},
		"get the job of the grant":       {held: []string{batchID + " read"}, ask: request("get jobs dev.batch"), want: true, reason: allowed1},
		"get a job elsewhere":            {held: []string{batchID + " read"}, ask: request("get jobs dev.other"), reason: `user alice may not "read" on jobs dev.other in metronome`},
		"get a job of a longer name":     {held: []string{batchID + " read"}, ask: request("get jobs dev.batchx"), reason: `user alice may not "read" on jobs dev.batchx in metronome`},
		"get the job above":              {held: []string{batchID + " read"}, ask: request("get jobs dev"), reason: `user alice may not "read" on jobs dev in metronome`},
		"watch a job by name":            {held: []string{batchID + " read"}, ask: request("watch jobs dev.batch.job1"), want: true, reason: allowed1},
		"list a job by name":             {held: []string{batchID + " read"}, ask: request("list jobs dev.batch.job1"), want: true, reason: allowed1},
		"list another by name":           {held: []string{batchID + " read"}, ask: request("list jobs dev.other"), reason: `user alice may not "read" on jobs dev.other in metronome`},
		"create reads nothing":           {held: []string{batchID + " create"}, ask: request("get jobs dev.batch.job1"), reason: `user alice may not "read" on jobs dev.batch.job1 in metronome`},
		"create without a name":          {held: []string{batchID + " create"}, ask: request("create jobs"), want: true, reason: allowed1},
		"create without a name, no":      {held: []string{batchID + " read,update,delete,run"}, ask: request("create jobs"), reason: `user alice may not "create" on any job in metronome`},
		"create by apply":                {held: []string{batchID + " create"}, ask: request("create jobs dev.batch.job2"), want: true, reason: allowed1},
		"create by apply elsewhere":      {held: []string{batchID + " create"}, ask: request("create jobs dev.other"), reason: `user alice may not "create" on jobs dev.other in metronome`},
		"update":                         {held: []string{batchID + " update"}, ask: request("update jobs dev.batch.job1"), want: true, reason: allowed1},
		"patch":                          {held: []string{batchID + " update"}, ask: request("patch jobs dev.batch.job1"), want: true, reason: allowed1},
		"run updates nothing":            {held: []string{batchID + " run"}, ask: request("patch jobs dev.batch.job1"), reason: `user alice may not "update" on jobs dev.batch.job1 in metronome`},
		"delete":                         {held: []string{batchID + " delete"}, ask: request("delete jobs dev.batch.job1"), want: true, reason: allowed1},
		"delete, no":                     {held: []string{batchID + " read,create,update,run"}, ask: request("delete jobs dev.batch.job1"), reason: `user alice may not "delete" on jobs dev.batch.job1 in metronome`},
		"list all":                       {held: []string{jobsID + " read"}, ask: request("list jobs"), want: true, reason: allowed1},
		"list all, no":                   {held: []string{batchID + " read"}, ask: request("list jobs"), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list a subtree":                 {held: []string{batchID + " read"}, ask: request("list jobs", exists(inBatch)), want: true, reason: allowed1},
		"watch a subtree":                {held: []string{batchID + " read"}, ask: request("watch jobs", exists(inBatch)), want: true, reason: allowed1},
		"list a smaller subtree":         {held: []string{batchID + " read"}, ask: request("list jobs", exists(inBatch+".job1")), want: true, reason: allowed1},
		"list a larger subtree":          {held: []string{batchID + " read"}, ask: request("list jobs", exists("in.grantry.dev/dev")), reason: `user alice may not "read" on jobs dev in metronome`},
		"list by In":                     {held: []string{batchID + " read"}, ask: request("list jobs", requires(inBatch, metav1.LabelSelectorOpIn, "")), want: true, reason: allowed1},
		"list by NotIn":                  {held: []string{batchID + " read"}, ask: request("list jobs", requires(inBatch, metav1.LabelSelectorOpNotIn, "x")), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by absence":                {held: []string{batchID + " read"}, ask: request("list jobs", requires(inBatch, metav1.LabelSelectorOpDoesNotExist)), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by an unknown operator":    {held: []string{batchID + " read"}, ask: request("list jobs", requires(inBatch, "Gt", "1")), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by In nothing":             {held: []string{batchID + " read"}, ask: request("list jobs", requires(inBatch, metav1.LabelSelectorOpIn)), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by Exists with values":     {held: []string{batchID + " read"}, ask: request("list jobs", requires(inBatch, metav1.LabelSelectorOpExists, "x")), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by another label":          {held: []string{batchID + " read"}, ask: request("list jobs", exists("dev.batch")), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by one of two labels":      {held: []string{batchID + " read"}, ask: request("list jobs", exists("in.grantry.dev/prod"), exists(inBatch)), want: true, reason: allowed1},
		"list by the prefix":             {held: []string{batchID + " read"}, ask: request("list jobs", exists("in.grantry.dev/")), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"list by a hashed label":         {held: []string{batchID + " read"}, ask: request("list jobs", exists("in.grantry.dev/dev.batch.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_abcdefghij0123456789")), reason: `user alice may not "read" on all jobs in metronome; the label of so long a path stands for no path that can be read back: select by a shorter one`},
		"a hashed label and another":     {held: []string{batchID + " read"}, ask: request("list jobs", exists("in.grantry.dev/dev_abc"), exists(inBatch)), want: true, reason: allowed1},
		"all, by a hashed label":         {held: []string{jobsID + " read"}, ask: request("list jobs", exists("in.grantry.dev/dev_abc")), want: true, reason: allowed1},
		"too many requirements":          {held: []string{batchID + " read"}, ask: request("list jobs", many...), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"delete a subtree":               {held: []string{batchID + " delete"}, ask: request("deletecollection jobs", exists(inBatch)), want: true, reason: allowed1},
		"delete a subtree, no":           {held: []string{batchID + " read"}, ask: request("deletecollection jobs", exists(inBatch)), reason: `user alice may not "delete" on jobs dev.batch in metronome`},
		"delete all, no":                 {held: []string{batchID + " delete"}, ask: request("deletecollection jobs"), reason: `user alice may not "delete" on all jobs in metronome` + hint},
		"a name outside, pinned":         {held: []string{batchID + " read"}, ask: request("list jobs x", exists(inBatch)), want: true, reason: allowed1},
		"get pinned is get":              {held: []string{batchID + " read"}, ask: request("get jobs dev.other", exists(inBatch)), reason: `user alice may not "read" on jobs dev.other in metronome`},
		"update pinned without a name":   {held: []string{batchID + " update"}, ask: request("update jobs", exists(inBatch)), reason: `user alice may not "update" on all jobs in metronome`},
		"can-i everything":               {held: []string{jobsID + " full"}, ask: request("* jobs"), want: true, reason: allowed1},
		"can-i everything, no":           {held: []string{jobsID + " create,read,update,delete,run"}, ask: request("* jobs"), reason: `user alice may not "full" on all jobs in metronome`},
		"superuser":                      {held: []string{"dcos:superuser full"}, ask: request("delete jobs x"), want: true, reason: allowed1},
		"status of a job":                {held: []string{"dcos:superuser full"}, ask: request("patch jobs/status dev"), reason: "only Grantry itself uses the subresource status of jobs"},
		"status of a run":                {held: []string{"dcos:superuser full"}, ask: request("get jobruns/status r1"), reason: "only Grantry itself uses the subresource status of jobruns"},
		"another verb":                   {held: []string{"dcos:superuser full"}, ask: request("impersonate jobs x"), other: true},
		"a name that is too long":        {held: []string{jobsID + " read"}, ask: request("get jobs " + strings.Repeat("a", 254)), reason: "nothing in Grantry has such a name"},
		"get a run":                      {held: []string{batchID + " read"}, ask: request("get jobruns r1"), want: true, reason: allowed1},
		"get a run of another job":       {held: []string{batchID + " read"}, ask: request("get jobruns other"), reason: "user alice lacks a permission on the Job of JobRun metronome/other, or there is none"},
		"get a run that is not":          {held: []string{batchID + " read"}, ask: request("get jobruns none"), reason: "user alice lacks a permission on the Job of JobRun metronome/none, or there is none"},
		"get a run of all":               {held: []string{jobsID + " read"}, ask: request("get jobruns none"), want: true, reason: allowed1},
		"watch a run by name":            {held: []string{batchID + " read"}, ask: request("watch jobruns r1"), want: true, reason: allowed1},
		"a run can't be looked up":       {held: []string{batchID + " read"}, ask: request("get jobruns down"), reason: "the Job of JobRun metronome/down can't be looked up now"},
		"stop a run":                     {held: []string{batchID + " run"}, ask: request("delete jobruns r1"), want: true, reason: allowed1},
		"stop a run by update":           {held: []string{batchID + " update"}, ask: request("delete jobruns r1"), want: true, reason: allowed1},
		"stop a run by delete":           {held: []string{batchID + " delete,read"}, ask: request("delete jobruns r1"), reason: `user alice may not "run" on jobs dev.batch.job1 in metronome`},
		"patch a run":                    {held: []string{batchID + " run"}, ask: request("patch jobruns r1"), want: true, reason: allowed1},
		"patch a run that is not":        {held: []string{batchID + " run"}, ask: request("patch jobruns none"), reason: "user alice lacks a permission on the Job of JobRun metronome/none, or there is none"},
		"create a run":                   {held: []string{batchID + " run"}, ask: request("create jobruns"), want: true, reason: allowed1},
		"create a run, no":               {held: []string{batchID + " read"}, ask: request("create jobruns"), reason: `user alice may not "run" on any job in metronome`},
		"create a run by apply":          {held: []string{batchID + " run"}, ask: request("create jobruns none"), want: true, reason: allowed1},
		"create a run that is another's": {held: []string{batchID + " run"}, ask: request("create jobruns other"), reason: "user alice lacks a permission on the Job of JobRun metronome/other, or there is none"},
		"list runs of a subtree":         {held: []string{batchID + " read"}, ask: request("list jobruns", exists(inBatch)), want: true, reason: allowed1},
		"list a run of a subtree":        {held: []string{batchID + " read"}, ask: request("list jobruns other", exists(inBatch)), want: true, reason: allowed1},
		"list runs":                      {held: []string{batchID + " read"}, ask: request("list jobruns"), reason: `user alice may not "read" on all jobs in metronome` + hint},
		"stop the runs of a subtree":     {held: []string{batchID + " run"}, ask: request("deletecollection jobruns", exists(inBatch)), want: true, reason: allowed1},
		"get an ACL":                     {held: []string{"dcos:adminrouter:acs full"}, ask: request("get acls x"), want: true, reason: allowed1},
		"create a Grant":                 {held: []string{"dcos:adminrouter:acs full"}, ask: request("create grants"), want: true, reason: allowed1},
		"delete Groups":                  {held: []string{"dcos:adminrouter:acs full"}, ask: request("deletecollection groups"), want: true, reason: allowed1},
		"acs needs full":                 {held: []string{"dcos:adminrouter:acs read,create,update,delete"}, ask: request("get acls x"), reason: `user alice may not "full" on dcos:adminrouter:acs`},
		"acs is all of it":               {held: []string{"dcos:adminrouter full"}, ask: request("get acls x"), reason: `user alice may not "full" on dcos:adminrouter:acs`},
		"RBAC's verb on ACLs":            {held: []string{"dcos:adminrouter:acs full"}, ask: request("grant acls x"), other: true},
		"a kind that is not ours":        {held: []string{"dcos:superuser full"}, ask: request("get services x"), other: true},
		"an unknown kind of ours":        {held: []string{"dcos:superuser full"}, ask: request("get widgets x"), other: true},
		"delete a pod":                   {held: []string{"dcos:superuser full"}, ask: request("delete pods r1"), other: true},
		"patch a pod":                    {held: []string{"dcos:superuser full"}, ask: request("patch pods r1"), other: true},
		"patch the status of a pod":      {held: []string{"dcos:superuser full"}, ask: request("patch pods/status r1"), other: true},
		"evict a pod":                    {held: []string{"dcos:superuser full"}, ask: request("create pods/eviction r1"), other: true},
		"proxy to the pod of no run":     {held: []string{"dcos:superuser full"}, ask: request("get pods/proxy none"), other: true},
		"watch the pod of no run":        {held: []string{"dcos:superuser full"}, ask: request("watch pods plain"), other: true},
		"list the pod of no run":         {ask: request("list pods plain"), other: true},
		"status of the pod of no run":    {ask: request("get pods/status plain"), other: true},
		"get the pod of no run":          {held: []string{"dcos:superuser full"}, ask: request("get pods none"), other: true},
		"enter the pod of no run":        {held: []string{"dcos:superuser full"}, ask: request("create pods/exec none"), other: true},
		"list pods":                      {held: []string{"dcos:superuser full"}, ask: request("list pods"), other: true},
		"watch a pod to come":            {held: []string{"dcos:superuser full"}, ask: request("watch pods none"), other: true},
		"list the pods of runs":          {held: []string{"dcos:superuser full"}, ask: request("list pods", exists(runLabel)), want: true, reason: allowed1},
		"list pods without the label":    {held: []string{"dcos:superuser full"}, ask: request("list pods", requires(runLabel, metav1.LabelSelectorOpDoesNotExist)), other: true},
		"list the pods of runs, no":      {held: []string{batchID + " read"}, ask: request("list pods", exists(runLabel)), reason: `user alice may not "read" on all jobs in metronome`},
		"a pod can't be looked up":       {held: []string{batchID + " read"}, ask: request("get pods down"), reason: "the Job of Pod metronome/down can't be looked up now"},
		"see a task, no":                 {held: []string{batchID + " read"}, ask: request("get pods r1"), reason: `user alice may not "full" on dcos:adminrouter:ops:mesos`},
	}
	for name, tc := range cases {
		for _, mode := range []permission.SecurityMode{permission.ModeDisabled, permission.ModePermissive, permission.ModeStrict} {
			t.Run(name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				want, reason := NoOpinion, tc.reason
				switch {
				case tc.other || mode == permission.ModeDisabled:
					reason = ""
				case tc.want:
					want = Allow
				case mode == permission.ModeStrict:
					want = Deny
				}
				got := newAuthorizer(mode, grants(tc.held...)).Authorize(t.Context(), tc.ask)
				if got.Verdict != want || got.Reason != reason {
					t.Errorf("got %s: %q\nwant %s: %q", got.Verdict, got.Reason, want, reason)
				}
				if got.Kind != kindOf(tc.ask) {
					t.Errorf("kind %s", got.Kind)
				}
				if down := tc.ask.Name == "down" && mode != permission.ModeDisabled; errors.Is(got.Err, errDown) != down {
					t.Errorf("error %v", got.Err)
				}
			})
		}
	}
}

func TestAuthorize_namespaces(t *testing.T) {
	t.Parallel()
	everywhere := request("list jobs", exists(inBatch))
	everywhere.Namespace = ""
	creation := request("create jobs")
	creation.Namespace = ""
	elsewhere := request("get jobs dev.batch.job1")
	elsewhere.Namespace = "team"
	long := request("get jobs x")
	long.Namespace = strings.Repeat("n", 64)
	cases := map[string]struct {
		held   string
		ask    *Request
		want   Verdict
		reason string
	}{
		"a grant is for one namespace":           {batchID + " read", elsewhere, Deny, `user alice may not "read" on jobs dev.batch.job1 in team`},
		"one namespace is not all":               {batchID + " read", everywhere, Deny, `user alice may not "read" on jobs in all namespaces`},
		"a superuser lists all namespaces":       {"dcos:superuser full", everywhere, Allow, allowed1},
		"create somewhere":                       {batchID + " create", creation, Deny, `user alice may not "create" on any job in all namespaces`},
		"a namespace that can't be is no reason": {"dcos:superuser full", long, Deny, "nothing in Grantry has such a name"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newAuthorizer(permission.ModeStrict, grants(tc.held)).Authorize(t.Context(), tc.ask)
			if got.Verdict != tc.want || got.Reason != tc.reason {
				t.Errorf("got %s: %q", got.Verdict, got.Reason)
			}
		})
	}
}

func TestAuthorize_groupsAndWindows(t *testing.T) {
	t.Parallel()
	s, _ := effective.Build(effective.Input{
		ACLs: []effective.ACL{{Name: "a", Resource: permission.MustParseResource(batchID)}},
		Grants: []effective.Grant{{
			Name: "g", ACL: "a", Actions: permission.Read, ExpiresAt: noon.Add(time.Hour),
			Subjects: []effective.Subject{effective.GroupSubject("devs")},
		}},
	})
	a := newAuthorizer(permission.ModePermissive, held{s})
	r := request("get jobs dev.batch")
	if got := a.Authorize(t.Context(), r); got.Verdict != NoOpinion {
		t.Errorf("without the group: %s", got.Verdict)
	}
	r.Groups = []string{"system:authenticated", "devs"}
	if got := a.Authorize(t.Context(), r); got.Verdict != Allow || got.Reason != "Allowed by Grant g on ACL a" {
		t.Errorf("with the group: %s: %q", got.Verdict, got.Reason)
	}
	a.Clock = testingclock.NewFakePassiveClock(noon.Add(time.Hour))
	if got := a.Authorize(t.Context(), r); got.Verdict != NoOpinion {
		t.Errorf("at its end: %s", got.Verdict)
	}
}

func TestAuthorize_notLoaded(t *testing.T) {
	t.Parallel()
	for mode, want := range map[permission.SecurityMode]Verdict{permission.ModePermissive: NoOpinion, permission.ModeStrict: Deny} {
		a := newAuthorizer(mode, held{})
		for _, ask := range []*Request{
			request("get jobs x"), request("list jobs"), request("create jobs"), request("get jobruns r1"), request("get acls x"),
			request("get pods r1"), request("get pods none"), request("list pods"), request("list pods", exists(inBatch)),
		} {
			if got := a.Authorize(t.Context(), ask); got.Verdict != want || got.Reason != errNotLoaded.Error() {
				t.Errorf("%s, %s %s: %s: %q", mode, ask.Verb, ask.Resource, got.Verdict, got.Reason)
			}
		}
		if got := a.Authorize(t.Context(), request("get services x")); got.Verdict != NoOpinion || got.Reason != "" {
			t.Errorf("%s, get services x: %s: %q", mode, got.Verdict, got.Reason)
		}
	}
}

func TestAuthorize_looksUpOnlyWhatItMust(t *testing.T) {
	t.Parallel()
	for ask, want := range map[string]int{"get jobs x": 0, "list jobruns": 0, "create jobruns": 0, "get jobruns r1": 1, "get pods r1": 1} {
		o := &objects{}
		a := newAuthorizer(permission.ModeStrict, grants(batchID+" read"))
		a.Lookup = o
		a.Authorize(t.Context(), request(ask))
		if o.looked != want {
			t.Errorf("%s: %d look-ups", ask, o.looked)
		}
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	for mode, want := range map[permission.SecurityMode]Verdict{permission.ModePermissive: NoOpinion, permission.ModeStrict: Deny} {
		got := newAuthorizer(mode, held{}).Failed("broken", errDown)
		if got.Verdict != want || got.Reason != "broken" || !errors.Is(got.Err, errDown) {
			t.Errorf("%s: %+v", mode, got)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(NoOpinion, Allow, Deny, Verdict(9)); got != "no_opinion allow deny no_opinion" {
		t.Error(got)
	}
	if got := fmt.Sprint(Unguarded, Jobs, JobRuns, PolicyObjects, Pods, Kind(99)); got != "other jobs jobruns policy pods other" {
		t.Error(got)
	}
}

// TestAuthorize_repeatsLittle: what a user wrote comes back in a bounded reason.
func TestAuthorize_repeatsLittle(t *testing.T) {
	t.Parallel()
	r := request("get jobs/" + strings.Repeat("s", 1<<16) + " x")
	r.User = strings.Repeat("u", 1<<16)
	a := newAuthorizer(permission.ModeStrict, grants())
	for _, sub := range []string{r.Subresource, ""} {
		r.Subresource = sub
		if got := a.Authorize(t.Context(), r); len(got.Reason) > 1024 {
			t.Errorf("%d bytes", len(got.Reason))
		}
	}
}
