//go:build e2e

// Package install installs the chart in a real cluster with real nodes, as a platform team does: the image loaded into
// two nodes, three replicas under their own service account, both webhooks called by Service, and people with client
// certificates and kubectl.
package install

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

const (
	space    = "grantry-system"
	release  = "grantry"
	instance = "upgrades" // the story has metronome to itself
	// patience is for what a machine that stands still for a while comes to in the end.
	patience = 3 * time.Minute
)

// site is a cluster in which somebody installs Grantry. carol, who does, is a cluster-admin by RBAC.
type site struct {
	*harness.Cluster
	admin client.Client
	// address is the cluster address that the Service of the authorization webhook is to have.
	address string
}

// up starts a cluster without anything of Grantry's but its images.
func up(t *testing.T) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the test
	nodes := os.Getenv("NODES")
	if nodes == "" {
		nodes = "real"
	}
	cluster := harness.Start(t, harness.Options{Name: fmt.Sprintf("inst-%d", os.Getpid()), Nodes: nodes, Bare: true, UpArgs: []string{"--real-nodes=2"}})
	s := &site{Cluster: cluster}
	t.Cleanup(func() {
		if t.Failed() {
			s.tell(context.Background(), t)
		}
	})
	cluster.RequireRealNode(t)
	first, err := netip.ParseAddr(cluster.ServiceAddress)
	if err != nil {
		t.Fatal(err)
	}
	address := first.As4()
	address[3] = 200 // in the part that the API server gives to nobody by itself
	s.address = netip.AddrFrom4(address).String()
	config, err := cluster.Config("admin")
	if err != nil {
		t.Fatal(err)
	}
	if s.admin, err = client.New(config, client.Options{Scheme: grantrytesting.Scheme}); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, "admin", "create", "clusterrolebinding", "carol", "--clusterrole=cluster-admin", "--user=carol")
	return s
}

// tell is what somebody wants to know of a failure.
func (s *site) tell(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods,events", "-A", "-o", "wide"},
		{"get", "gjob,jrun", "-A", "-o", "wide"},
		{"logs", "-n", space, "-l", "app.kubernetes.io/name=grantry", "--tail=60", "--prefix"},
	} {
		out, _ := s.Kubectl(ctx, "admin", args...)
		t.Logf("kubectl %s:\n%s", strings.Join(args, " "), out)
	}
}

func (s *site) kubectl(t *testing.T, user string, args ...string) string {
	t.Helper()
	out, err := s.KubectlPatiently(t.Context(), patience, user, "", args...)
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	return out
}

func (s *site) apply(t *testing.T, user, manifest string) {
	t.Helper()
	if out, err := s.KubectlPatiently(t.Context(), patience, user, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%s: %s", user, out)
	}
}

func (s *site) helm(t *testing.T, args ...string) string {
	t.Helper()
	begun := time.Now()
	out, err := s.Helm(t.Context(), "carol", append(args, "--namespace", space)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("helm %s %s: %s", args[0], args[1], time.Since(begun).Round(time.Second))
	return out
}

// eventually waits for something to come true.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	harness.Retry(t, patience, 200*time.Millisecond, what, try)
}

// version is a chart with its image.
type version struct {
	chart, values, tag string
}

// args are what Helm is told of it.
func (v version) args(s *site, more ...string) []string {
	return append([]string{
		v.chart, "--values", v.values, "--set", "image.tag=" + v.tag + ",authorization.clusterIP=" + s.address, "--wait", "--timeout=5m",
	}, more...)
}

// image builds the image of a tree and loads it into the nodes.
func (s *site) image(t *testing.T, tree, tag string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	build := exec.CommandContext(t.Context(), "go", "run", "-C", filepath.Join(tree, "hack", "image"), ".", "--tag", "grantry/grantry:"+tag, "--output", archive)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the image %s: %v: %s", tag, err, out)
	}
	if err := s.LoadImage(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(archive) // the nodes have it
}

// versions are the chart of the commit before this one, and this one. Where the former has none, or git does not know it,
// both are this one's, and differ in the image's tag.
func (s *site) versions(t *testing.T, root string) (before, now version) {
	t.Helper()
	now = version{filepath.Join(root, harness.ChartPath), filepath.Join(root, "test/install/values.yaml"), "now"}
	s.image(t, root, now.tag)
	tree, err := previous(t, root)
	if err != nil {
		t.Logf("the commit before this one can't be installed (%v): this one is, under another tag", err)
		before = now
		before.tag = "before"
		s.image(t, root, before.tag)
		return before, now
	}
	before = version{filepath.Join(tree, harness.ChartPath), filepath.Join(tree, "test/install/values.yaml"), "before"}
	s.image(t, tree, before.tag)
	return before, now
}

// previous unpacks the commit before this one.
func previous(t *testing.T, root string) (string, error) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "git", "-C", root, "cat-file", "-e", "HEAD~1:test/install/values.yaml").Run(); err != nil {
		return "", errors.New("it has no chart, or the clone is shallow")
	}
	content, err := exec.CommandContext(t.Context(), "git", "-C", root, "archive", "HEAD~1").Output()
	if err != nil {
		return "", err
	}
	dir := t.TempDir()
	for reader := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return dir, nil
		}
		if err != nil {
			return "", err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		file := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return "", err
		}
	}
}

// prepare makes the namespace, and the Secret with which the authorization webhook serves.
func (s *site) prepare(t *testing.T) {
	t.Helper()
	s.kubectl(t, "carol", "apply", "-f", "config/manager/namespace.yaml")
	args := []string{"create", "secret", "generic", "grantry-authorization", "--namespace", space}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		args = append(args, "--from-file="+filepath.Join(s.Webhook.CertDir, name))
	}
	s.kubectl(t, "carol", args...)
}

// live waits until each run that is at work has its pod, and returns these pods.
func (s *site) live(t *testing.T) map[string]types.UID {
	t.Helper()
	var pods map[string]types.UID
	eventually(t, "each run at work has its pod", func() error {
		runs := &v1alpha1.JobRunList{}
		if err := s.admin.List(t.Context(), runs); err != nil {
			return err
		}
		atWork := 0
		for _, run := range runs.Items {
			if is := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded); is != nil && is.Reason == v1alpha1.StateActive {
				atWork++
			}
		}
		if pods = s.pods(t); len(pods) != atWork || atWork == 0 {
			return fmt.Errorf("%d runs are at work, %d pods run: %v", atWork, len(pods), pods)
		}
		return nil
	})
	return pods
}

// pods are the pods of runs that run, by name, with their UIDs.
func (s *site) pods(t *testing.T) map[string]types.UID {
	t.Helper()
	pods := &corev1.PodList{}
	if err := s.admin.List(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	found := map[string]types.UID{}
	for _, pod := range pods.Items {
		if pod.Namespace != space && pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			found[pod.Name] = pod.UID
		}
	}
	return found
}

var refusals = regexp.MustCompile(`(?i)[^\n]*(is forbidden|cannot (create|get|list|watch|update|patch|delete) resource)[^\n]*`)

// inOrder wants every replica to run under the account of the chart, and to miss no right.
func (s *site) inOrder(t *testing.T) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := s.admin.List(t.Context(), pods, client.InNamespace(space), client.MatchingLabels{"app.kubernetes.io/name": "grantry"}); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.ServiceAccountName != "grantry" {
			t.Errorf("the pod %s has the account %q", pod.Name, pod.Spec.ServiceAccountName)
		}
		if pod.DeletionTimestamp != nil {
			continue // its log goes any moment
		}
		log := s.kubectl(t, "admin", "logs", "-n", space, pod.Name)
		if found := refusals.FindString(log); found != "" {
			t.Errorf("its role gives the operator too little: %s", found)
		}
	}
}

// leftovers are the names of all that has Grantry's, of the kinds that a cluster has one of for all.
func (s *site) leftovers(t *testing.T) []string {
	t.Helper()
	kinds := "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies," +
		"validatingadmissionpolicybindings,clusterroles,clusterrolebindings"
	found := strings.Fields(s.kubectl(t, "admin", "get", kinds, "-o", "name"))
	found = slices.DeleteFunc(found, func(name string) bool { return !strings.Contains(name, "grantry") })
	namespaced := strings.Fields(s.kubectl(t, "admin", "get", "all,secrets,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets", "-n", space, "-o", "name"))
	return append(found, slices.DeleteFunc(namespaced, func(name string) bool {
		return slices.Contains([]string{"configmap/kube-root-ca.crt", "serviceaccount/default", "secret/grantry-authorization"}, name)
	})...)
}
