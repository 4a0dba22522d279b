//go:build e2e

package pods

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/grantry/grantry/api/v1alpha1"
)

// field is a definition whose work prints what it finds.
type field struct {
	// run is spec.run in YAML; want is what the work prints.
	run, want string
}

// secrets are two keys of one Secret, by the names pw and user.
const secrets = `
secrets: {pw: {source: team/login}, user: {source: "team/login#user"}}`

// fields are all at work at once, each as the Job team.<name>.
var fields = map[string]field{
	"env": {
		run: `
env: {PLAIN: "a $(HOME) $$b", PASSWORD: {secret: pw}, USER_NAME: {secret: user}}
cmd: echo "$PLAIN"; echo "$PASSWORD $USER_NAME"` + secrets,
		want: "a $(HOME) $$b\nopensesame ali baba",
	},
	"secret-files": {
		run: `
volumes: [{containerPath: /etc/login/password, secret: pw}, {containerPath: user, secret: user}]
cmd: |
  pwd; cat /etc/login/password; echo; cat user; echo
  stat -L -c %a user
  (echo forged >user) 2>/dev/null || echo can not be written
  ls /etc/login` + secrets,
		want: "/mnt/mesos/sandbox\nopensesame\nali baba\n644\ncan not be written\npassword",
	},
	"secret-files-of-a-user": {
		run: `
user: "1234:5678"
volumes: [{containerPath: /etc/login/password, secret: pw}]
env: {USER_NAME: {secret: user}}
cmd: id -u; id -g; cat /etc/login/password; echo; echo "$USER_NAME"` + secrets,
		want: "1234\n5678\nopensesame\nali baba",
	},
	"host-volumes": {
		run: `
volumes: [{containerPath: /in, hostPath: $DIR/in, mode: RO}, {containerPath: out, hostPath: $DIR/out, mode: RW}]
cmd: |
  cat /in/given
  (echo forged >/in/given) 2>/dev/null || echo can not be written
  echo made >out/made`,
		want: "given\ncan not be written",
	},
	"artifacts": {
		run: `
artifacts:
- {uri: $FILES/tool, executable: true}
- {uri: $FILES/data.tar.gz, cache: true}
- {uri: $FILES/pages.zip}
- {uri: $FILES/notes.gz}
- {uri: $FILES/raw.tar.gz, extract: false}
cmd: |
  ./tool; cat data/packed page notes raw.tar.gz; echo
  ls; [ -x page ] || echo a page is not executable`,
		want: "the tool works\npacked by tar\npacked by zip\npacked by gzip\nnot an archive\n" +
			"data\ndata.tar.gz\nnotes\nnotes.gz\npage\npages.zip\nraw.tar.gz\ntool\na page is not executable",
	},
	"artifacts-of-a-user": {
		run: `
user: nobody
artifacts: [{uri: $FILES/data.tar.gz}]
cmd: |
  id -u; id -g
  stat -c '%u %g' data.tar.gz data/packed
  cat data/packed; echo mine >made && echo more >>data/packed && cat made data/packed`,
		want: "65534\n65534\n65534 65534\n65534 65534\npacked by tar\nmine\npacked by tar\nmore",
	},
	"root": {run: `{user: root, cmd: id -u; id -g}`, want: "0\n0"},
	// Memory is a limit; processors are a share, and nothing that nobody else uses is kept from the work.
	"resources": {
		run: `
cpus: 0.25
mem: 64
cmd: |
  cd /sys/fs/cgroup
  if [ -e memory.max ]; then
    cat memory.max; [ "$(cat cpu.weight)" -lt 39 ] && echo less than one processor; cut -d' ' -f1 cpu.max
  else
    cat memory/memory.limit_in_bytes; [ "$(cat cpu/cpu.shares)" = 256 ] && echo less than one processor
    grep -q '^-1$' cpu/cpu.cfs_quota_us && echo max
  fi`,
		want: "67108864\nless than one processor\nmax",
	},
	"own-network": {
		run:  `{networks: [{mode: container/bridge}], cmd: '[ "$(readlink /proc/self/ns/net)" != "$NETWORK" ] && echo its own'}`,
		want: "its own",
	},
	"host-network": {run: `{networks: [{mode: host}], cmd: readlink /proc/self/ns/net}`, want: "$NETWORK"},
	"docker":       {run: `{docker: {image: "` + image + `"}, args: [echo, "in $(HOME)"]}`, want: "in $(HOME)"},
	"ucr":          {run: `{ucr: {image: {id: "` + image + `", kind: docker}}, cmd: echo by ucr}`, want: "by ucr"},
	"unprivileged": {run: `{cmd: grep -c ' /proc/sys ' /proc/mounts}`, want: "1"},
	"privileged":   {run: `{docker: {image: "` + image + `", privileged: true}, cmd: grep -c ' /proc/sys ' /proc/mounts || true}`, want: "0"},
	"no-token":     {run: `{cmd: ls /var/run/secrets 2>/dev/null || echo none}`, want: "none"},
	"on-this-node": {run: `{placement: {constraints: [{attribute: hostname, operator: IS, value: $NODE}]}, cmd: echo here}`, want: "here"},
	"on-no-rack":   {run: `{placement: {constraints: [{attribute: rack, operator: UNLIKE, value: "r.*"}]}, cmd: echo here}`, want: "here"},
}

// TestPods is each field of spec.run in a container of its own. It needs a machine that can have a real node.
func TestPods(t *testing.T) {
	s := start(t)
	for name, f := range fields {
		s.define(t, "team."+name, f.run)
	}
	s.defineWaiting(t)
	for name, f := range fields {
		t.Run(name, func(t *testing.T) {
			s.reaches(t, "team."+name, v1alpha1.StateSuccess, "")
			if got, want := s.printed(t, "team."+name), s.facts.Replace(f.want); got != want {
				t.Errorf("the work printed\n%s\nwant\n%s", got, want)
			}
		})
	}
	t.Run("what is written is on the node", func(t *testing.T) {
		if made, err := os.ReadFile(filepath.Join(s.dir, "out", "made")); err != nil || string(made) != "made\n" {
			t.Errorf("%q, %v", made, err)
		}
	})
	t.Run("each run fetches, cache or not", func(t *testing.T) {
		if got := s.files.times("/data.tar.gz"); got != 2 { // artifacts, artifacts-of-a-user
			t.Errorf("fetched %d times by two runs", got)
		}
	})
	s.tryWaiting(t)
	s.tryRestarts(t)
	t.Run("an artifact that is not there", func(t *testing.T) {
		s.define(t, "team.lost", `{artifacts: [{uri: $FILES/lost}], cmd: echo never}`)
		s.reaches(t, "team.lost", v1alpha1.StateFailed, "exit code 1")
		if pod := s.pod(t, "team.lost"); pod == nil || pod.Status.ContainerStatuses[0].State.Terminated != nil {
			t.Errorf("the work began without its artifact: %+v", pod)
		}
	})
}
