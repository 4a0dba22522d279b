package story

import (
	"fmt"
	"os"
	"strings"
)

// tellPeople has alice and bob ask the API server, with certificates of their own. RBAC gives them nothing here:
// what they get is Grantry's answer, and what they don't get has Grantry's reason.
func (s *story) tellPeople() {
	s.chapter("alice and bob ask the API server themselves: RBAC gives them nothing")
	s.allowed("alice", "", `dev\.batch\.job1`, "get", "gjob", "dev.batch.job1", "-n", "metronome")
	who := "grantry: "
	if os.Getenv("GRANTRY_KUBERNETES") == "oldest" { // its API server doesn't name the authorizer
		who = ""
	}
	s.refused("alice", "", who+`user alice may not "read" on jobs marketing\.email\.campaign1 in metronome`,
		"get", "gjob", "marketing.email.campaign1", "-n", "metronome")
	s.allowed("bob", "", `marketing\.email\.campaign1`, "get", "gjob", "marketing.email.campaign1", "-n", "metronome")
	s.refused("bob", "", who+`user bob may not "read" on jobs dev\.batch\.job1 in metronome`, "get", "gjob", "dev.batch.job1", "-n", "metronome")

	s.chapter("A list is what a label pins to a group; all jobs are not alice's to list")
	s.allowed("alice", "", `(?s)^NAME[^\n]*\ndev\.batch\.job1 [^\n]*\ndev\.batch\.job2 [^\n]*\n$`, "get", "gjob", "-n", "metronome", "-l", "in.grantry.dev/dev.batch")
	s.refused("alice", "", `a label selector in\.grantry\.dev/<path> asks for`, "get", "gjob", "-n", "metronome")
	s.allowed("alice", "", `^yes`, "auth", "can-i", "update", "gjob/dev.batch.job2", "-n", "metronome")
	s.refused("alice", "", `^no`, "auth", "can-i", "list", "gjob", "-n", "metronome")
	s.refused("bob", "bob may run campaign2, and not change it", `^no`, "auth", "can-i", "update", "gjob/marketing.email.campaign2", "-n", "metronome")

	s.chapter("Pods, logs and exec take what DC/OS asks for")
	s.apply("alice-debug.yaml")
	alices, bobs := s.podOf("dev.batch.job1"), s.podOf("marketing.email.campaign1")
	if s.cluster.Nodes != "real" {
		s.tellCanI(alices, bobs)
		return
	}
	s.allowed("alice", "", `job1 at work`, "logs", alices, "-n", "metronome")
	s.allowed("alice", "", `inside`, "exec", alices, "-n", "metronome", "--", "echo", "inside")
	s.refused("alice", "", `user alice lacks|cannot get resource "pods"`, "logs", bobs, "-n", "metronome")
	s.refused("bob", "bob may read his job, and lacks the rest", `may not "full" on dcos:adminrouter:ops:mesos`, "logs", bobs, "-n", "metronome")
	s.refused("bob", "", `cannot (get|create) resource "pods`, "exec", alices, "-n", "metronome", "--", "echo", "inside")
}

// tellCanI asks what simulated pods can't show.
func (s *story) tellCanI(alices, bobs string) {
	canI := func(verb, pod, subresource string) []string {
		return []string{"auth", "can-i", verb, "pod/" + pod, "--subresource=" + subresource, "-n", "metronome"}
	}
	s.allowed("alice", "Simulated pods have no logs", `^yes`, canI("get", alices, "log")...)
	s.allowed("alice", "", `^yes`, canI("create", alices, "exec")...)
	s.refused("bob", "", `^no`, canI("get", bobs, "log")...)
	s.refused("bob", "", `^no`, canI("create", alices, "exec")...)
}

// podOf is the name of the pod of a job's run.
func (s *story) podOf(job string) string {
	if s.err != nil {
		return ""
	}
	out, err := s.cluster.Kubectl(s.ctx, "admin", "get", "pods", "-n", "metronome", "-l", "in.grantry.dev/"+job, "-o", "name")
	if err == nil && strings.Count(out, "\n") != 1 {
		err = fmt.Errorf("%s has not one pod but %q", job, out)
	}
	s.err = err
	return strings.TrimPrefix(strings.TrimSpace(out), "pod/")
}
