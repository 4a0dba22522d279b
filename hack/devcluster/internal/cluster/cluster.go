// Package cluster holds what is known about a development cluster: its settings, its addresses, where
// its files are, and which processes own it. All of it lives in one directory per cluster.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Nodes says what runs the pods.
type Nodes string

const (
	NodesAuto Nodes = "auto" // Real where that is possible, otherwise Kwok
	NodesReal Nodes = "real" // kubelet, containerd and runc: pods run
	NodesKwok Nodes = "kwok" // simulated: pods only change their status
	NodesNone Nodes = "none" // pods stay Pending
)

// Completion says when a simulated pod of a Job ends.
type Completion string

const (
	CompleteAnnotated   Completion = "annotated"   // when its annotations say so
	CompleteImmediately Completion = "immediately" // as soon as it runs
)

// Settings are what the user asked for.
type Settings struct {
	Name                string              `json:"name"`
	Nodes               Nodes               `json:"nodes"`
	KwokNodes           int                 `json:"kwokNodes,omitempty"`
	RealNodes           int                 `json:"realNodes,omitempty"`
	KwokComplete        Completion          `json:"kwokComplete,omitempty"`
	Groups              map[string][]string `json:"groups,omitempty"`
	AuthorizationConfig string              `json:"authorizationConfig,omitempty"`
	APIServerArgs       []string            `json:"apiserverArgs,omitempty"`
	EtcdArgs            []string            `json:"etcdArgs,omitempty"`
	// Restart starts a process again that ends by itself. Otherwise the cluster ends with it.
	Restart  bool `json:"restart,omitempty"`
	OwnerPID int  `json:"ownerPID,omitempty"`
}

// Cluster is one development cluster, as cluster.json in its directory records it.
type Cluster struct {
	Settings
	Dir     string    `json:"dir"`
	Created time.Time `json:"created"`

	Binaries     string `json:"binaries"`     // etcd, kube-apiserver, …, kubectl, kubelet
	NodeBinaries string `json:"nodeBinaries"` // containerd and its shim, or kwok
	CNIBinaries  string `json:"cniBinaries,omitempty"`
	Busybox      string `json:"busybox,omitempty"`

	Ports Ports `json:"ports"`
	// Webhook is where the API server expects the authorization webhook, if not at its port on loopback.
	Webhook string `json:"webhook,omitempty"`
	// Subnet is the second number of the addresses 10.Subnet.0.0/16, which only this cluster uses.
	Subnet int    `json:"subnet"`
	Before Before `json:"before"`

	Supervisor Process `json:"supervisor"`
	Runner     Process `json:"runner"`
	Ended      string  `json:"ended,omitempty"` // why it ended by itself
}

// Before is what the machine was like before its first real node, which the last one's end restores.
type Before struct {
	ForwardingOff bool     `json:"forwardingOff,omitempty"` // of IPv4 packets
	Absent        []string `json:"absent,omitempty"`        // directories that were not there
}

// Users get a kubeconfig in every cluster; those named with --groups are added.
var Users = []string{"admin", "alice", "bob", "carol", "dave"}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// longestDir keeps the sockets below the directory within the 107 bytes of a socket's path.
const longestDir = 107 - len("/node2/kubelet/device-plugins/kubelet.sock")

// New is a cluster that has a place but nothing in it.
func New(settings Settings) (*Cluster, error) {
	if !validName.MatchString(settings.Name) {
		return nil, fmt.Errorf("%q can't name a cluster: lower case letters, digits and dashes, 32 at most", settings.Name)
	}
	root, err := StateRoot()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Settings: settings, Dir: filepath.Join(root, settings.Name), Created: time.Now().Truncate(time.Second)}
	if len(c.Dir) > longestDir {
		return nil, fmt.Errorf("%s is too long for the sockets in it: set GRANTRY_STATE to a shorter directory", c.Dir)
	}
	return c, nil
}

// StateRoot is the directory that holds a directory for each cluster.
func StateRoot() (string, error) {
	if dir := os.Getenv("GRANTRY_STATE"); dir != "" {
		abs, err := filepath.Abs(dir)
		return filepath.Join(abs, "devcluster"), err
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "grantry", "devcluster"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for the cluster's state (set GRANTRY_STATE): %w", err)
	}
	return filepath.Join(home, ".local", "state", "grantry", "devcluster"), nil
}

// Load reads the cluster of that name. The error is fs.ErrNotExist if there is none.
func Load(name string) (*Cluster, error) {
	c, err := New(Settings{Name: name})
	if err != nil {
		return nil, err
	}
	return LoadDir(c.Dir)
}

// LoadDir reads the cluster in dir.
func LoadDir(dir string) (*Cluster, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("parse %s: %w", filepath.Join(dir, "cluster.json"), err)
	}
	c.Dir = dir
	return c, nil
}

// List reads every cluster, in order of name.
func List() ([]*Cluster, error) {
	root, err := StateRoot()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var clusters []*Cluster
	for _, entry := range entries {
		c, err := LoadDir(filepath.Join(root, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) || !entry.IsDir() {
			continue
		}
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, c)
	}
	return clusters, nil
}

// Save writes cluster.json in one step, so that a reader never sees half of it.
func (c *Cluster) Save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	temporary := c.Path("cluster.json.new")
	if err := os.WriteFile(temporary, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, c.Path("cluster.json"))
}

// Path is a file in the cluster's directory.
func (c *Cluster) Path(elements ...string) string {
	return filepath.Join(append([]string{c.Dir}, elements...)...)
}

// PKI is a file among the cluster's keys and certificates.
func (c *Cluster) PKI(name string) string { return c.Path("pki", name) }

// AuthorizationFile is one of the files by which the API server finds the authorization webhook: its
// configuration, the kubeconfig that this names, and the certificates that the kubeconfig names.
func (c *Cluster) AuthorizationFile(name string) string {
	return c.Path("authorization", "apiserver", name)
}

// WebhookCertDir holds what the authorization webhook serves with: tls.crt, tls.key, and the ca.crt that
// signed the API server's certificate.
func (c *Cluster) WebhookCertDir() string { return c.Path("authorization", "webhook") }

// WebhookAddress is where the API server expects the authorization webhook.
func (c *Cluster) WebhookAddress() string {
	if c.Webhook != "" {
		return c.Webhook
	}
	return fmt.Sprintf("127.0.0.1:%d", c.Ports.Webhook)
}

// Kubeconfig is the kubeconfig of a user or of a component.
func (c *Cluster) Kubeconfig(user string) string { return c.Path("kubeconfig", user+".kubeconfig") }

// Log is the log of a component.
func (c *Cluster) Log(component string) string { return c.Path("logs", component+".log") }

// Kubectl is a kubectl of the cluster's own version.
func (c *Cluster) Kubectl() string { return filepath.Join(c.Binaries, "kubectl") }

// Server is the API server's address.
func (c *Cluster) Server() string { return fmt.Sprintf("https://127.0.0.1:%d", c.Ports.APIServer) }

// ID names what the cluster has outside its directory: the bridge, the cgroup, the directory of short
// sockets. It differs between clusters of one name in different state directories.
func (c *Cluster) ID() string {
	hash := fnv.New32a()
	hash.Write([]byte(c.Dir))
	return fmt.Sprintf("grantry-%06x", hash.Sum32()&0xffffff)
}

// RuntimeDir holds what the nodes have below /run.
func (c *Cluster) RuntimeDir() string { return filepath.Join("/run", c.ID()) }

// PodSubnet, ServiceSubnet, GatewayAddress and ServiceAddress are the cluster's own addresses: the gateway is the pods',
// and the first node's address; the service's is that of the Service "kubernetes".
func (c *Cluster) PodSubnet() string      { return fmt.Sprintf("10.%d.0.0/24", c.Subnet) }
func (c *Cluster) ServiceSubnet() string  { return fmt.Sprintf("10.%d.128.0/20", c.Subnet) }
func (c *Cluster) GatewayAddress() string { return fmt.Sprintf("10.%d.0.1", c.Subnet) }
func (c *Cluster) ServiceAddress() string { return fmt.Sprintf("10.%d.128.1", c.Subnet) }

// UserGroups are the users that get a kubeconfig, with their groups.
func (c *Cluster) UserGroups() map[string][]string {
	groups := map[string][]string{}
	for _, user := range Users {
		groups[user] = nil
	}
	for user, names := range c.Groups {
		groups[user] = append(groups[user], names...)
	}
	if !slices.Contains(groups["admin"], "system:masters") {
		groups["admin"] = append(groups["admin"], "system:masters")
	}
	return groups
}

// MarkReady records that everything runs.
func (c *Cluster) MarkReady() error { return os.WriteFile(c.Path("ready"), nil, 0o600) }

// State is what the cluster is doing, in one word.
func (c *Cluster) State() string {
	if !c.Supervisor.Alive() && !c.Runner.Alive() {
		return "stopped"
	}
	if _, err := os.Stat(c.Path("ready")); err != nil {
		return "starting"
	}
	return "running"
}
