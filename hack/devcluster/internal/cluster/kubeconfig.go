package cluster

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grantry/grantry/hack/devcluster/internal/pki"
)

// NewKubeconfig mints a client certificate for a user with these groups and returns a kubeconfig with it.
func (c *Cluster) NewKubeconfig(user string, groups []string) ([]byte, error) {
	pair, err := pki.ReadPair(c.Path("pki"), "ca")
	if err != nil {
		return nil, fmt.Errorf("read the cluster's authority: %w", err)
	}
	authority, err := pki.ParseAuthority(pair)
	if err != nil {
		return nil, err
	}
	client, err := authority.Issue(pki.Subject{Name: user, Groups: groups})
	if err != nil {
		return nil, err
	}
	return kubeconfig(c.Name, c.Server(), user, pair.Certificate, client), nil
}

// kubeconfig holds everything in itself, so that the file can be moved.
func kubeconfig(cluster, server, user string, authority []byte, client pki.Pair) []byte {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: %[2]q
contexts:
- name: %[2]q
  context: {cluster: %[1]q, user: %[2]q}
clusters:
- name: %[1]q
  cluster:
    server: %[3]s
    certificate-authority-data: %[4]s
users:
- name: %[2]q
  user:
    client-certificate-data: %[5]s
    client-key-data: %[6]s
`, cluster, user, server, encode(authority), encode(client.Certificate), encode(client.Key))
}

// componentSubjects are the identities of the cluster's own parts.
func (c *Cluster) componentSubjects() map[string]pki.Subject {
	subjects := map[string]pki.Subject{
		"kube-controller-manager": {Name: "system:kube-controller-manager"},
		"kube-scheduler":          {Name: "system:kube-scheduler"},
		"kwok":                    {Name: "kwok", Groups: []string{"system:masters"}},
	}
	for _, n := range c.RealNodeList() {
		subjects["kubelet"+n.Suffix()] = n.subject()
	}
	return subjects
}

// WriteIdentities makes the cluster's PKI and a kubeconfig for every user and component.
func (c *Cluster) WriteIdentities() error {
	if err := errors.Join(c.writePKI(), c.writeWebhookCertificates()); err != nil {
		return fmt.Errorf("make the cluster's PKI: %w", err)
	}
	if err := os.MkdirAll(c.Path("kubeconfig"), 0o700); err != nil {
		return err
	}
	subjects := c.componentSubjects()
	for user, groups := range c.UserGroups() {
		subjects[user] = pki.Subject{Name: user, Groups: groups}
	}
	for file, subject := range subjects {
		data, err := c.NewKubeconfig(subject.Name, subject.Groups)
		if err != nil {
			return fmt.Errorf("make the kubeconfig of %s: %w", file, err)
		}
		if err := os.WriteFile(c.Kubeconfig(file), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writePKI makes three authorities: one for the API's clients and servers, one for etcd, so that no user of
// the API is one of etcd, and one for the front proxy, whose clients may name any user.
func (c *Cluster) writePKI() error {
	dir := c.Path("pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	authorities := map[string]*pki.Authority{}
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		authority, pair, err := pki.NewAuthority("devcluster-" + c.Name + "-" + name)
		if err != nil {
			return err
		}
		if err := pair.Write(dir, name); err != nil {
			return err
		}
		authorities[name] = authority
	}
	loopback := []string{"127.0.0.1", "localhost"}
	apiHosts := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", c.ServiceAddress(),
	}, loopback...)
	type leaf struct {
		file, authority string
		subject         pki.Subject
	}
	leaves := []leaf{
		{"apiserver", "ca", pki.Subject{Name: "kube-apiserver", Hosts: apiHosts}},
		{"apiserver-kubelet-client", "ca", pki.Subject{Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}},
		{"admin", "ca", pki.Subject{Name: "admin", Groups: []string{"system:masters"}}},
		{"etcd", "etcd-ca", pki.Subject{Name: "etcd", Hosts: loopback}},
		{"front-proxy-client", "front-proxy-ca", pki.Subject{Name: "front-proxy-client"}},
	}
	for _, n := range c.RealNodeList() {
		subject := n.subject()
		subject.Hosts = []string{n.Address(), n.NodeName()}
		leaves = append(leaves, leaf{"kubelet" + n.Suffix(), "ca", subject})
	}
	for _, leaf := range leaves {
		pair, err := authorities[leaf.authority].Issue(leaf.subject)
		if err != nil {
			return err
		}
		if err := pair.Write(dir, leaf.file); err != nil {
			return err
		}
	}
	private, public, err := pki.NewKeys()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.PKI("service-account.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.PKI("service-account.pub"), public, 0o644)
}

// WebhookCaller is the name in the certificate with which the API server calls the authorization webhook.
const WebhookCaller = "kube-apiserver"

// writeWebhookCertificates makes what the API server and the authorization webhook prove themselves to each
// other with. The authority is one of its own: whoever holds a certificate of the cluster's could otherwise ask
// the webhook what anybody may do.
func (c *Cluster) writeWebhookCertificates() error {
	authority, pair, err := pki.NewAuthority("devcluster-" + c.Name + "-authorization-ca")
	if err != nil {
		return err
	}
	if err := pair.Write(c.Path("pki"), "authorization-ca"); err != nil {
		return err
	}
	for _, end := range []struct {
		dir, file string
		subject   pki.Subject
	}{
		{c.AuthorizationFile(""), "client", pki.Subject{Name: WebhookCaller}},
		{c.WebhookCertDir(), "tls", pki.Subject{Name: "grantry", Hosts: []string{"127.0.0.1", "localhost"}}},
	} {
		leaf, err := authority.Issue(end.subject)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(end.dir, 0o700); err != nil {
			return err
		}
		if err := leaf.Write(end.dir, end.file); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(end.dir, "ca.crt"), pair.Certificate, 0o644); err != nil {
			return err
		}
	}
	return nil
}
