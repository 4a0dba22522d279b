// Package harness runs Grantry as a whole for the demo and for the end-to-end tests: a development cluster
// by hack/devcluster, and the operator as a process of its own under its own identity, with no rights but
// those of config/rbac. Everything that it starts ends with the process that started it.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// OperatorUser is the operator's identity: the service account of config/rbac.
const OperatorUser = "system:serviceaccount:grantry-system:grantry"

// Options choose a cluster.
type Options struct {
	// Name of the cluster. One of that name must not be running.
	Name string
	// Nodes is real, kwok, none or auto, as in devcluster up.
	Nodes string
	// Mode is the security mode of the API server: disabled (unset, too), permissive or strict.
	Mode string
	// Bare leaves out Grantry's CRDs, RBAC and admission policies.
	Bare bool
	// UpArgs are further arguments of devcluster up.
	UpArgs []string
	// MemoryLimit is what each program of the cluster keeps within if it can, in the form of Go's GOMEMLIMIT. Without one
	// an API server takes what it finds.
	MemoryLimit string
	// Detach lets the cluster outlive this process.
	Detach bool
	// Log receives progress.
	Log io.Writer
}

// CrowdedLimit is the MemoryLimit of a cluster with 100,000 objects on a machine with 24 GiB. Of its programs the API server
// alone comes near it.
const CrowdedLimit = "14GiB"

// Cluster is a running development cluster with Grantry's CRDs, RBAC and admission policies in it.
type Cluster struct {
	// Name and Nodes are what devcluster says of it.
	Name, Nodes string
	// KubectlPath is a kubectl of the cluster's version.
	KubectlPath string
	// Webhook is where the API server expects the authorization webhook.
	Webhook Webhook
	// ServiceAddress is the cluster address of the Service "kubernetes", the first of those of Services. Only with a
	// real node.
	ServiceAddress string

	root        string
	environment []string // that devcluster has beside this process's
	directory   string
	kubeconfigs map[string]string
	log         io.Writer
	detached    bool
}

// Webhook is where an authorization webhook serves, and with what.
type Webhook struct {
	Address, CertDir string
	// ClientNames are in the certificates of those who may ask.
	ClientNames []string
}

// Args are the arguments with which an operator serves it.
func (w Webhook) Args() []string {
	return []string{
		"--authorization-bind-address", w.Address, "--authorization-cert-dir", w.CertDir,
		"--authorization-client-names", strings.Join(w.ClientNames, ","),
	}
}

// Root is the directory of the repository that contains the working directory. The nested modules that use
// this package know where it is, too.
func Root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/grantry/grantry").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository, within which this must be called: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Up starts a cluster and, unless it is to be bare, installs the CRDs, the operator's RBAC and the admission policies.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: o.Name, root: root, log: o.Log, detached: o.Detach}
	args := []string{"up", "--name", o.Name, "--nodes", o.Nodes}
	if o.Mode != "" {
		args = append(args, "--mode", o.Mode)
	}
	if !o.Detach {
		args = append(args, "--owner-pid", strconv.Itoa(os.Getpid()))
	}
	if o.MemoryLimit != "" {
		c.environment = []string{"GOMEMLIMIT=" + o.MemoryLimit}
	}
	if _, err := c.devcluster(ctx, append(args, o.UpArgs...)...); err != nil {
		return nil, err
	}
	if err := c.describe(ctx); err != nil {
		return nil, err
	}
	if o.Bare {
		return c, nil
	}
	return c, c.install(ctx)
}

// KillComponent ends a process of the cluster, such as etcd, as a crash would. The cluster ends with it unless it was
// started with --restart.
func (c *Cluster) KillComponent(ctx context.Context, component string) error {
	_, err := c.devcluster(ctx, "kill", "--name", c.Name, component)
	return err
}

// Down ends the cluster and removes everything of it.
func (c *Cluster) Down(ctx context.Context) error {
	_, err := c.devcluster(ctx, "down", "--name", c.Name)
	return err
}

// describe learns where the cluster's files are.
func (c *Cluster) describe(ctx context.Context) error {
	out, err := c.devcluster(ctx, "status", "--name", c.Name, "--output", "json")
	if err != nil {
		return err
	}
	var found []struct {
		Nodes, Kubectl, Directory string
		Kubeconfigs               map[string]string
		Authorization             Webhook
		ServiceAddress            string
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 {
		return fmt.Errorf("devcluster status of %s: %q: %w", c.Name, out, err)
	}
	c.Nodes, c.KubectlPath, c.directory, c.kubeconfigs = found[0].Nodes, found[0].Kubectl, found[0].Directory, found[0].Kubeconfigs
	c.Webhook, c.ServiceAddress = found[0].Authorization, found[0].ServiceAddress
	return nil
}

// SetMode gives the API server the configuration that is shipped for a mode, and returns when it is in use. The
// operators' own mode is another matter: see StartOperator.
func (c *Cluster) SetMode(ctx context.Context, mode string) error {
	_, err := c.devcluster(ctx, "mode", "--name", c.Name, mode)
	return err
}

// SetModeAt is SetMode from mode disabled, and the API server is to ask the webhook at an address from now on.
func (c *Cluster) SetModeAt(ctx context.Context, mode, address string) error {
	_, err := c.devcluster(ctx, "mode", "--name", c.Name, "--webhook-address", address, mode)
	return err
}

// LoadImage loads an archive of images into a real node.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	_, err := c.devcluster(ctx, "load-image", "--name", c.Name, archive)
	return err
}

func (c *Cluster) install(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", filepath.Join(c.root, "config/crd/bases")},
		{"wait", "--for=condition=Established", "--timeout=60s", "-f", filepath.Join(c.root, "config/crd/bases")},
		{"create", "namespace", "grantry-system"},
		{"apply", "-k", filepath.Join(c.root, "config/rbac")},
		{"apply", "-k", filepath.Join(c.root, "config/admission-policy")},
	} {
		if _, err := c.Kubectl(ctx, "admin", args...); err != nil {
			return err
		}
	}
	return nil
}

// Kubeconfig is the file with which a user speaks to the cluster.
func (c *Cluster) Kubeconfig(user string) string { return c.kubeconfigs[user] }

// MintKubeconfig makes a certificate for a user with groups, and returns the file with which it speaks to the cluster.
func (c *Cluster) MintKubeconfig(ctx context.Context, user string, groups ...string) (string, error) {
	args := []string{"kubeconfig", "--name", c.Name, "--user", user}
	for _, group := range groups {
		args = append(args, "--group", group)
	}
	config, err := c.devcluster(ctx, args...)
	if err != nil {
		return "", err
	}
	path := filepath.Join(c.directory, "kubeconfig", strings.ReplaceAll(user, ":", "-")+".minted.kubeconfig")
	c.kubeconfigs[user] = path
	return path, os.WriteFile(path, []byte(config), 0o600)
}

// MintAccount is MintKubeconfig for a service account, by its username, in the groups of such.
func (c *Cluster) MintAccount(ctx context.Context, account string) (string, error) {
	groups, err := accountGroups(account)
	if err != nil {
		return "", err
	}
	return c.MintKubeconfig(ctx, account, groups...)
}

func accountGroups(account string) ([]string, error) {
	namespace, _, err := serviceaccount.SplitUsername(account)
	if err != nil {
		return nil, err
	}
	return append(serviceaccount.MakeGroupNames(namespace), user.AllAuthenticated), nil
}

// Config is a client configuration for a user, without a limit on its own rate.
func (c *Cluster) Config(user string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig(user))
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return config, nil
}

// Kubectl runs kubectl as a user and returns what it printed. A failure has kubectl's own words.
func (c *Cluster) Kubectl(ctx context.Context, user string, args ...string) (string, error) {
	return c.KubectlStdin(ctx, user, "", args...)
}

// KubectlStdin is Kubectl with something to read, for -f -.
func (c *Cluster) KubectlStdin(ctx context.Context, user, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.KubectlPath, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(user))
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// passing are failures that a machine which stands still for a while makes, and that pass by themselves.
var passing = regexp.MustCompile(`InternalError|ServiceUnavailable|be asked now|failed calling webhook|deadline exceeded|connection refused|connection reset|i/o timeout|TLS handshake timeout|EOF|request timed out`)

// KubectlPatiently is KubectlStdin, again for up to so long while it meets a failure that passes by itself.
func (c *Cluster) KubectlPatiently(ctx context.Context, limit time.Duration, user, stdin string, args ...string) (string, error) {
	for deadline := time.Now().Add(limit); ; {
		out, err := c.KubectlStdin(ctx, user, stdin, args...)
		if err == nil || !passing.MatchString(out) || time.Now().After(deadline) || ctx.Err() != nil {
			return out, err
		}
		time.Sleep(time.Second)
	}
}

// devcluster runs hack/devcluster; its progress goes to the log, its result is returned.
func (c *Cluster) devcluster(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "-C", filepath.Join(c.root, "hack/devcluster"), "."}, args...)...)
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), c.environment...), &out, c.log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("devcluster %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}
