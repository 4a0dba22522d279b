package admission

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

const (
	samplesDir = "../../config/samples"
	exampleDir = "../../docs/gitops/example"
)

// tool is kubectl as somebody.
type tool struct{ kubeconfig string }

func (w *world) tool(t *testing.T, user string, groups ...string) tool {
	t.Helper()
	u, err := w.environment.AddUser(envtest.User{Name: user, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	config, err := u.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return tool{path}
}

// passing is what a machine that stands still for a while makes kubectl say.
var passing = regexp.MustCompile(`InternalError|failed calling webhook|deadline exceeded|i/o timeout|TLS handshake timeout|connection re|EOF`)

// run is kubectl's answer, once it is not for the want of time.
func (k tool) run(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); ; time.Sleep(time.Second) {
		if out, err = k.once(t, args...); err == nil || !passing.MatchString(out) || time.Now().After(deadline) {
			return out, err
		}
	}
}

func (k tool) once(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+k.kubeconfig)
	out, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// tree is a directory of manifests, and who applies it.
type tree struct {
	dir string
	by  tool
}

// GitOps tools apply the same again and again, and compare. What Grantry adds is nobody's: a second apply writes
// nothing, and no comparison shows anything.
func TestGitOps_samples(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	w.nobodyFights(t, []tree{{samplesDir, w.tool(t, "platform", "system:masters")}})
}

// TestGitOps_example applies the example of docs/gitops.md as Flux does: the platform's part as a cluster administrator,
// each team's with the rights of its account.
func TestGitOps_example(t *testing.T) {
	const accounts = "system:serviceaccounts"
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	NewWithT(t).Expect(w.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "flux-system"}})).To(Succeed())
	platform := w.tool(t, "system:serviceaccount:flux-system:kustomize-controller", "system:masters")
	marketing := w.tool(t, "system:serviceaccount:flux-system:marketing", accounts, accounts+":flux-system")
	dev := w.tool(t, "system:serviceaccount:flux-system:dev", accounts, accounts+":flux-system")
	w.nobodyFights(t, []tree{{exampleDir + "/platform", platform}, {exampleDir + "/teams/marketing", marketing}, {exampleDir + "/teams/dev", dev}})
	w.saysWho(t)
	w.mayBeExported(t, platform)
	w.pruning(t, dev)
	handsOutItsOwn(t, marketing, dev)
}

func (w *world) nobodyFights(t *testing.T, trees []tree) {
	t.Helper()
	g := NewWithT(t)
	for _, tree := range trees {
		// A Grant that was only just written may not be known yet.
		g.Eventually(func() error { return tree.apply(t) }).WithTimeout(waitFor).Should(Succeed())
	}
	for _, tree := range trees {
		g.Eventually(func() error {
			out, err := tree.by.run(t, "diff", "--server-side", "--field-manager=gitops", "-k", tree.dir)
			if err == nil && out != "" {
				err = fmt.Errorf("it says: %s", out)
			}
			return err
		}).WithTimeout(waitFor).Should(Succeed(), "a comparison shows nothing")
		g.Eventually(func() []string { // until the operator has said all that there is to say
			before := w.versions(t)
			if err := tree.apply(t); err != nil {
				return []string{err.Error()}
			}
			return slices.DeleteFunc(w.versions(t), func(v string) bool { return slices.Contains(before, v) })
		}).WithTimeout(waitFor).Should(BeEmpty(), "a second apply writes nothing")
	}
	w.areUnchanged(t)
}

// areUnchanged checks that no spec was written twice.
func (w *world) areUnchanged(t *testing.T) {
	t.Helper()
	for _, obj := range w.objects(t) {
		if obj.GetGeneration() != 1 {
			t.Errorf("%s %s was written %d times", obj.GetKind(), obj.GetName(), obj.GetGeneration())
		}
	}
}

func (f tree) apply(t *testing.T) error {
	t.Helper()
	_, err := f.by.run(t, "apply", "--server-side", "--field-manager=gitops", "-k", f.dir)
	return err
}

// objects are all of ours.
func (w *world) objects(t *testing.T) (all []unstructured.Unstructured) {
	t.Helper()
	for _, kind := range []string{"ACL", "Grant", "Group", "Job", "JobRun"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := w.admin.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		all = append(all, list.Items...)
	}
	return all
}

func (w *world) versions(t *testing.T) (versions []string) {
	t.Helper()
	for _, obj := range w.objects(t) {
		versions = append(versions, fmt.Sprintf("%s %s %s", obj.GetKind(), obj.GetName(), obj.GetResourceVersion()))
	}
	return versions
}

// saysWho: the owners and the writers are those that Git means, and not the tool.
func (w *world) saysWho(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(w.job(t, "dev.batch.job1").Spec.Owner).To(Equal(userSubject("alice")), "dev's account may act as alice")
	g.Expect(w.job(t, "marketing.email.report").Spec.Owner).
		To(Equal(&v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: "marketing"}), "marketing's account is in the group")
	grant := &v1alpha1.Grant{}
	g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Name: "marketing-contractor"}, grant)).To(Succeed())
	g.Expect(grant.Spec.GrantedBy.Username).To(Equal("system:serviceaccount:flux-system:marketing"), "it counts on marketing's authority")
}

// mayBeExported: specs that were read from a cluster, with all that Grantry added, may be put into Git as they are; and
// kubectl's own three-way comparison, which is like Helm's and Argo CD's, finds nothing to do.
func (w *world) mayBeExported(t *testing.T, by tool) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "exported.yaml")
	g.Expect(os.WriteFile(file, w.export(t), 0o600)).To(Succeed())
	out, err := by.run(t, "diff", "--server-side", "--field-manager=export", "-f", file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(BeEmpty())
	_, err = by.run(t, "apply", "-f", file)
	g.Expect(err).NotTo(HaveOccurred())
	out, err = by.run(t, "apply", "-f", file)
	g.Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(out) {
		g.Expect(line).To(HaveSuffix(" unchanged\n"))
	}
	g.Expect(out).To(ContainSubstring("job.grantry.dev/dev.batch.job1 unchanged"))
	w.areUnchanged(t)
}

// export is what a person keeps of all objects: without what the API server and the operator say of them.
func (w *world) export(t *testing.T) []byte {
	t.Helper()
	var documents []byte
	for _, obj := range w.objects(t) {
		delete(obj.Object, "status")
		for _, field := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"} {
			unstructured.RemoveNestedField(obj.Object, "metadata", field)
		}
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(append(documents, "---\n"...), text...)
	}
	return documents
}

// pruning: an owner that leaves Git is given up by its manager, and stays; nobody comes to own a Job by accident.
func (w *world) pruning(t *testing.T, dev tool) {
	t.Helper()
	g := NewWithT(t)
	before := w.job(t, "dev.batch.job1")
	unowned := manifest(t, `
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: dev.batch.job1, namespace: metronome}
spec:
  startPolicy: OnDemand
  run: {cmd: sleep 1000, cpus: 0.01, mem: 32}
`)
	for range 2 {
		_, err := dev.run(t, "apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-f", unowned)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(w.job(t, "dev.batch.job1").Spec).To(Equal(before.Spec))
	}
}

// handsOutItsOwn: a team's account hands out what it holds, and no more.
func handsOutItsOwn(t *testing.T, marketing, dev tool) {
	t.Helper()
	g := NewWithT(t)
	const grant = "apiVersion: grantry.dev/v1alpha1\nkind: Grant\nmetadata: {name: more}\nspec: "
	for what, spec := range map[string]string{
		"to itself, of everything":    "{acl: superuser, actions: [full], subjects: [{kind: ServiceAccount, name: marketing, namespace: flux-system}]}",
		"of another team's Jobs":      "{acl: dev, actions: [read], subjects: [{kind: User, name: carol}]}",
		"of an ACL that is not there": "{acl: later, actions: [read], subjects: [{kind: User, name: carol}]}",
	} {
		_, err := marketing.run(t, "apply", "--server-side", "--field-manager=gitops", "-f", manifest(t, grant+spec))
		g.Expect(err).To(MatchError(ContainSubstring(`user system:serviceaccount:flux-system:marketing may not create Grant "more"`)), what)
	}
	_, err := dev.run(t, "apply", "--server-side", "--field-manager=gitops", "-f", manifest(t, grant+"{acl: dev, actions: [read], subjects: [{kind: User, name: carol}]}"))
	g.Expect(err).To(MatchError(ContainSubstring(`cannot patch resource "grants"`)), "dev's account writes no Grants at all")
}

func (w *world) job(t *testing.T, name string) *v1alpha1.Job {
	t.Helper()
	job := &v1alpha1.Job{}
	if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: space, Name: name}, job); err != nil {
		t.Fatal(err)
	}
	return job
}

func manifest(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
