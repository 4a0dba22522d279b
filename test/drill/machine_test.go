package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// removal is a patch that takes a resource out of a ClusterRole, with the rule if that has no other.
func (s *site) removal(t *testing.T, name, resource string) string {
	t.Helper()
	role := &rbacv1.ClusterRole{}
	if err := s.users["carol"].Get(t.Context(), client.ObjectKey{Name: name}, role); err != nil {
		t.Fatal(err)
	}
	for i, rule := range role.Rules {
		j := slices.Index(rule.Resources, resource)
		switch {
		case j < 0:
		case len(rule.Resources) == 1:
			return fmt.Sprintf(`[{"op":"remove","path":"/rules/%d"}]`, i)
		default:
			return fmt.Sprintf(`[{"op":"remove","path":"/rules/%d/resources/%d"}]`, i, j)
		}
	}
	t.Fatalf("the ClusterRole %s does not name %s", name, resource)
	return ""
}

// withoutUpdates takes from the operator what it may update in its own namespace, but for Leases.
func (s *site) withoutUpdates(t *testing.T) {
	t.Helper()
	role := &rbacv1.Role{}
	if err := s.users["carol"].Get(t.Context(), client.ObjectKey{Namespace: space, Name: "grantry"}, role); err != nil {
		t.Fatal(err)
	}
	before := len(role.Rules)
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Verbs, "update") })
	if len(role.Rules) == before {
		t.Fatal("the Role grantry updates nothing")
	}
	if err := s.users["carol"].Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
}

// process is the number that this machine has for a replica's process, or 0 while there is none.
func (s *site) process(ctx context.Context, pod string) int {
	of := &corev1.Pod{}
	if err := s.users["carol"].Get(ctx, client.ObjectKey{Namespace: space, Name: pod}, of); err != nil {
		return 0
	}
	uid := string(of.UID)
	return find(func(dir string) bool {
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup")) // it may have ended
		if !bytes.Contains(groups, []byte(uid)) && !bytes.Contains(groups, []byte(strings.ReplaceAll(uid, "-", "_"))) {
			return false
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		return bytes.Contains(line, []byte("--leader-elect")) // else it is the sandbox's
	})
}

// component is the number of a process of the cluster's control plane.
func (s *site) component(t *testing.T, name string) int {
	t.Helper()
	own := []byte(filepath.Dir(filepath.Dir(s.Kubeconfig("admin"))) + "/") // its arguments name files there
	pid := find(func(dir string) bool {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		program, arguments, _ := bytes.Cut(line, []byte{0})
		return filepath.Base(string(program)) == name && bytes.Contains(arguments, own)
	})
	if pid == 0 {
		t.Fatalf("there is no %s of this cluster", name)
	}
	return pid
}

// find is the first process whose directory in /proc is right, or 0.
func find(right func(dir string) bool) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, dir := range dirs {
		if right(dir) {
			pid, _ := strconv.Atoi(filepath.Base(dir)) // it is digits
			return pid
		}
	}
	return 0
}

// killAgain kills a replica whenever it runs.
func (s *site) killAgain(t *testing.T, pod string) (stop func()) {
	t.Helper()
	return repeat(t, 2, func(ctx context.Context) {
		if pid := s.process(ctx, pod); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	})
}

// stop stops processes until what it returns is called.
func (*site) stop(t *testing.T, pids ...int) (goOn func()) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Errorf("stop process %d: %v", pid, err)
		}
	}
	return func() {
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Errorf("let process %d go on: %v", pid, err)
			}
		}
	}
}

// stopReaders stops what reads the replicas' output: the shims of containerd, which are their parents.
func (s *site) stopReaders(t *testing.T) (goOn func()) {
	t.Helper()
	var shims []int
	for pod := range s.replicas(t) {
		pid := s.process(t.Context(), pod)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "\nPPid:")
		line, _, _ := strings.Cut(rest, "\n")
		parent, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("the parent of %s: %v", pod, err)
		}
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent)); !strings.HasPrefix(string(name), "containerd-shim") {
			t.Fatalf("the parent of %s is %s", pod, name)
		}
		shims = append(shims, parent)
	}
	return s.stop(t, shims...)
}

// cut drops what a replica and the API server send each other, in the pod's own network namespace, which goes with it.
func (s *site) cut(t *testing.T, pod string) {
	t.Helper()
	pid := s.process(t.Context(), pod)
	if pid == 0 {
		t.Fatalf("%s has no process", pod)
	}
	for _, way := range [][]string{{"OUTPUT", "-d"}, {"INPUT", "-s"}} { // what the API server sends by a watch would still come
		iptables(t, "nsenter", "--net", "--target", strconv.Itoa(pid), "iptables", "-I", way[0], way[1], s.ServiceAddress, "-j", "DROP")
	}
}

// drop drops what this machine, on which the API server is, sends to the webhooks' ports of the pods. Metrics go through.
func (s *site) drop(t *testing.T) (goOn func()) {
	t.Helper()
	var rules [][]string
	for _, pod := range s.replicas(t) {
		for _, port := range []string{"9443", "9444"} {
			rules = append(rules, []string{"OUTPUT", "-p", "tcp", "-d", pod, "--dport", port, "-j", "DROP"})
		}
	}
	for _, rule := range rules {
		iptables(t, append([]string{"iptables", "-w", "-I"}, rule...)...)
		t.Cleanup(func() { // if it is there still: the machine's other clusters have such addresses, too
			_ = exec.Command("iptables", append([]string{"-w", "-D"}, rule...)...).Run()
		})
	}
	return func() {
		for _, rule := range rules {
			iptables(t, append([]string{"iptables", "-w", "-D"}, rule...)...)
		}
	}
}

func iptables(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", command, err, out)
	}
}

// shorten puts a certificate into the Secret of the admission webhooks that the same authority made, and that ends soon.
func (s *site) shorten(t *testing.T, left time.Duration) {
	t.Helper()
	secret := &corev1.Secret{}
	if err := s.users["carol"].Get(t.Context(), client.ObjectKey{Namespace: space, Name: "grantry-admission"}, secret); err != nil {
		t.Fatal(err)
	}
	authorities, err := cert.ParseCertsPEM(secret.Data["ca.crt"])
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keyutil.ParsePrivateKeyPEM(secret.Data["ca.key"])
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	name := "grantry-admission." + space + ".svc"
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authorities[0], &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret.Data["tls.crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret.Data["tls.key"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := s.users["carol"].Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
}
