package binaries

import "testing"

func TestMissing_oneLineWithTheCommand(t *testing.T) {
	there := func() (string, bool) { return "/bin/x", true }
	absent := func() (string, bool) { return "", false }
	for name, tc := range map[string]struct {
		tools []tool
		uid   int
		want  string
	}{
		"nothing": {tools: []tool{{title: "runc", debian: "runc", find: there}}},
		"one": {
			tools: []tool{{title: "runc", debian: "runc", find: absent}, {title: "iptables", debian: "iptables", find: there}},
			want:  "--nodes=real needs runc: apt-get install -y runc",
		},
		"several, as a user": {
			tools: []tool{
				{title: "runc", debian: "runc", find: absent},
				{title: "the CNI plugins", debian: "containernetworking-plugins", find: absent},
				{title: "a static busybox", debian: "busybox-static", find: absent},
			},
			uid: 1000,
			want: "--nodes=real needs root (run it with sudo) and runc, the CNI plugins and a static busybox: " +
				"sudo apt-get install -y runc containernetworking-plugins busybox-static",
		},
		"only root": {uid: 1000, want: "--nodes=real needs root: run it with sudo -E, or use --nodes=kwok"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := missing(tc.tools, tc.uid); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestIsPackage(t *testing.T) {
	for line, want := range map[string]bool{
		"k8s.io/kubernetes/cmd/kube-apiserver/app": true,
		"go: downloading k8s.io/api v0.37.1":       false,
		"# k8s.io/kubernetes/pkg/x":                false,
		"x.go:12:3: undefined: y":                  false,
		"":                                         false,
	} {
		if got := isPackage(line); got != want {
			t.Errorf("isPackage(%q) = %v, want %v", line, got, want)
		}
	}
}
