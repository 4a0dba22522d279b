// Package story tells the story of the two pages of the DC/OS documentation, with their jobs and permission strings, on
// a running cluster: it prints each command of a person and what the cluster answered, and checks the answers.
package story

import (
	"context"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/grantry/grantry/test/harness"
)

// patience is how long an answer may take to come true. Pulling nothing and deciding in memory, it takes
// a second or two; a machine that is busy with something else takes longer.
const patience = 90 * time.Second

// manifests is where the objects of the story are, from the repository's root.
const manifests = "hack/demo/manifests"

// story prints commands and answers, and checks the answers. After the first wrong answer it stops.
type story struct {
	ctx     context.Context
	cluster *harness.Cluster
	out     io.Writer
	Options

	met int
	err error
}

// Options say what the cluster has.
type Options struct {
	// Admission says that the admission webhooks are on: mistakes are then refused, and not only reported.
	Admission bool
}

// Tell tells the story, and returns how many expectations were met. The error is the first that was not. It is to be
// called in the repository's root, on a cluster in mode permissive, without Jobs and with an operator that is ready.
func Tell(ctx context.Context, cluster *harness.Cluster, out io.Writer, o Options) (met int, err error) {
	s := &story{ctx: ctx, cluster: cluster, out: out, Options: o}
	s.tell()
	return s.met, s.err
}

func (s *story) tell() {
	s.chapter("Four jobs, and nobody has been granted anything")
	s.apply("jobs.yaml")
	s.apply("run-now.yaml")
	s.expect("Nothing starts; each run says what is missing", `(?s)job1-now\s+Pending.*job2-now\s+Pending`,
		"get", "jrun", "-n", "metronome", "-o", runColumns)
	s.expect("", `user alice may not "create" or "run" on jobs dev\.batch\.job1`,
		"get", "jrun", "job1-now", "-n", "metronome", "-o", authorizedMessage)
	s.never("There is no batch/v1 Job", `\S`, "get", "jobs.batch", "-n", "metronome", "-o", "name")

	s.chapter("A grant on one job launches that one, and not the other")
	s.apply("alice-job1.yaml")
	s.expect("", `(?s)job1-now\s+Active.*job2-now\s+Pending`, "get", "jrun", "-n", "metronome", "-o", runColumns)
	s.expect("Its pod runs", `Running`, "get", "pods", "-n", "metronome", "-l", "in.grantry.dev/dev.batch.job1")

	s.chapter("Widening it to the group launches both: the waiting run starts by itself")
	s.apply("alice-batch.yaml")
	s.expect("", `(?s)job1-now\s+Active.*job2-now\s+Active`, "get", "jrun", "-n", "metronome", "-o", runColumns)
	s.expect("A label selects the subtree", `(?s)Running.*Running`, "get", "pods", "-n", "metronome", "-l", "in.grantry.dev/dev.batch")

	s.chapter("The same for a group: bob is a member of marketing, and owns the campaigns")
	s.apply("marketing-campaign1.yaml")
	s.expect("", `(?s)campaign1\S*\s+Active.*campaign2\S*\s+Pending`, "get", "jrun", "-n", "metronome", "-o", runColumns)
	s.apply("marketing-email.yaml")
	s.expect("", `(?s)campaign1\S*\s+Active.*campaign2\S*\s+Active`, "get", "jrun", "-n", "metronome", "-o", runColumns)

	s.tellPeople()

	s.chapter("Revoking stops the next run, and suspends the running one where onRevoke says so")
	s.show("delete", "grant", "marketing-campaign1", "marketing-email")
	s.refused("bob", "bob may not even see it any more", `may not "read"`, "get", "gjob", "marketing.email.campaign1", "-n", "metronome")
	s.expect("campaign1 has onRevoke: Suspend; campaign2 may finish", `(?s)campaign1\S*\s+Suspended.*campaign2\S*\s+Active`,
		"get", "jrun", "-n", "metronome", "-o", runColumns)
	s.expect("", `(?s)campaign1.*true.*campaign2.*false`, "get", "jobs.batch", "-n", "metronome", "-l", "in.grantry.dev/marketing",
		"-o", "custom-columns=NAME:.metadata.name,SUSPENDED:.spec.suspend")
	s.applyText("the next run of campaign2", nextRun)
	s.expect("", `next\s+Pending.*no grant`, "get", "jrun", "next", "-n", "metronome", "-o", runColumns)

	s.chapter("Granting again resumes the one and starts the other")
	s.apply("marketing-email.yaml")
	s.expect("", `(?s)campaign1\S*\s+Active.*next\s+Active`, "get", "jrun", "-n", "metronome", "-o", runColumns)

	s.chapter("Deleting a run stops it")
	s.show("delete", "jrun", "next", "-n", "metronome")
	s.never("Its batch/v1 Job goes with it", `next`, "get", "jobs.batch", "-n", "metronome", "-o", "name")

	s.chapter("Mistakes say what is wrong")
	if s.Admission {
		s.refused("admin", "One can't be read, and the other may come true", `can't be a segment`, "apply", "-f", path.Join(manifests, "mistakes.yaml"))
	} else {
		s.apply("mistakes.yaml")
		s.expect("", `ResourceMalformed.*can't be a segment`, "get", "acl", "misspelt", "-o", readyColumns)
	}
	s.expect("", `ACLNotFound.*no-such-acl`, "get", "grant", "lost", "-o", readyColumns)

	s.chapter("What a person sees in the end")
	s.show("get", "acl,grant,group")
	s.show("get", "gjob,jrun", "-n", "metronome")
}

const (
	runColumns        = `custom-columns=NAME:.metadata.name,STATE:.status.conditions[?(@.type=="Succeeded")].reason,BECAUSE:.status.conditions[?(@.type=="Authorized")].message`
	authorizedMessage = `custom-columns=AUTHORIZED:.status.conditions[?(@.type=="Authorized")].message`
	readyColumns      = `custom-columns=NAME:.metadata.name,REASON:.status.conditions[?(@.type=="Ready")].reason,MESSAGE:.status.conditions[?(@.type=="Ready")].message`
	nextRun           = `apiVersion: grantry.dev/v1alpha1
kind: JobRun
metadata: {name: next, namespace: metronome}
spec: {job: marketing.email.campaign2}
`
)

func (s *story) chapter(title string) {
	if s.err == nil {
		s.say("\n== %s\n", title)
	}
}

// say prints.
func (s *story) say(format string, args ...any) {
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil && s.err == nil {
		s.err = err
	}
}

// apply applies a file of the manifests.
func (s *story) apply(file string) {
	s.show("apply", "-f", path.Join(manifests, file))
}

// applyText applies a manifest that is not worth a file.
func (s *story) applyText(what, manifest string) {
	if s.err != nil {
		return
	}
	out, err := s.cluster.KubectlPatiently(s.ctx, patience, "admin", manifest, "apply", "-f", "-")
	s.say("$ kubectl apply -f -   # %s\n%s", what, indent(out))
	s.err = err
}

// show runs kubectl and prints what it answers.
func (s *story) show(args ...string) {
	if s.err != nil {
		return
	}
	out, err := s.cluster.KubectlPatiently(s.ctx, patience, "admin", "", args...)
	s.say("$ kubectl %s\n%s", quoted(args), indent(out))
	s.err = err
}

// expect runs kubectl until its answer matches a pattern, and prints the last answer.
func (s *story) expect(claim, pattern string, args ...string) {
	s.allowed("admin", claim, pattern, args...)
}

// never runs kubectl until its answer does not match a pattern, and prints the last answer.
func (s *story) never(claim, pattern string, args ...string) {
	match := regexp.MustCompile(pattern).MatchString
	s.until("admin", claim, args, "an answer without "+pattern, func(out string, err error) bool {
		return err == nil && !match(strings.TrimSpace(out))
	})
}

// allowed is expect for a person who has only what Grantry gives.
func (s *story) allowed(user, claim, pattern string, args ...string) {
	match := regexp.MustCompile(pattern).MatchString
	s.until(user, claim, args, "an answer that matches "+pattern, func(out string, err error) bool { return err == nil && match(out) })
}

// refused runs kubectl until it fails with words that match a pattern, and prints them.
func (s *story) refused(user, claim, pattern string, args ...string) {
	match := regexp.MustCompile(pattern).MatchString
	s.until(user, claim, args, "a refusal that matches "+pattern, func(out string, err error) bool { return err != nil && match(out) })
}

func (s *story) until(user, claim string, args []string, wanted string, met func(out string, err error) bool) {
	if s.err != nil {
		return
	}
	deadline := time.Now().Add(patience)
	for {
		out, err := s.cluster.Kubectl(s.ctx, user, args...)
		good := met(out, err)
		if !good && time.Now().Before(deadline) && s.ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if claim != "" {
			s.say("# %s:\n", claim)
		}
		s.say("%s kubectl %s\n%s", prompt(user), quoted(args), indent(out))
		if !good {
			s.err = fmt.Errorf("kubectl %s: wanted %s within %s, last got: %s %w", quoted(args), wanted, patience, out, err)
			return
		}
		s.met++
		return
	}
}

// prompt tells who types; without a name it is the administrator.
func prompt(user string) string {
	if user == "admin" {
		return "$"
	}
	return user + "$"
}

func quoted(args []string) string {
	text := make([]string, len(args))
	for i, a := range args {
		text[i] = a
		if strings.ContainsAny(a, " ()?*[]\"") {
			text[i] = "'" + a + "'"
		}
	}
	return strings.Join(text, " ")
}

func indent(out string) string {
	out = strings.TrimRight(out, "\n")
	if out == "" {
		return "    (nothing)\n"
	}
	return "    " + strings.ReplaceAll(out, "\n", "\n    ") + "\n"
}
