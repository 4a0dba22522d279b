package runner

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/grantry/grantry/hack/devcluster/internal/authorization"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// The clients' limits are raised everywhere: a test of throughput should meet what the machine can do and
// not a default that protects shared clusters.
const (
	clientQPS   = "1000"
	clientBurst = "2000"
)

func etcd(c *cluster.Cluster) []string {
	client := fmt.Sprintf("https://127.0.0.1:%d", c.Ports.EtcdClient)
	peer := fmt.Sprintf("https://127.0.0.1:%d", c.Ports.EtcdPeer)
	arguments := []string{
		filepath.Join(c.Binaries, "etcd"),
		"--name=devcluster",
		"--data-dir=" + c.Path("etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=devcluster=" + peer,
		"--cert-file=" + c.PKI("etcd.crt"),
		"--key-file=" + c.PKI("etcd.key"),
		"--trusted-ca-file=" + c.PKI("etcd-ca.crt"),
		"--client-cert-auth",
		"--peer-cert-file=" + c.PKI("etcd.crt"),
		"--peer-key-file=" + c.PKI("etcd.key"),
		"--peer-trusted-ca-file=" + c.PKI("etcd-ca.crt"),
		"--peer-client-cert-auth",
		"--unsafe-no-fsync", // the data does not outlive the cluster
		"--log-level=warn",
	}
	return append(arguments, c.EtcdArgs...) // the last of two that contradict each other counts
}

func apiserver(c *cluster.Cluster) []string {
	arguments := []string{
		filepath.Join(c.Binaries, "kube-apiserver"),
		fmt.Sprintf("--etcd-servers=https://127.0.0.1:%d", c.Ports.EtcdClient),
		"--etcd-cafile=" + c.PKI("etcd-ca.crt"),
		"--etcd-certfile=" + c.PKI("etcd.crt"),
		"--etcd-keyfile=" + c.PKI("etcd.key"),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.Ports.APIServer),
		"--tls-cert-file=" + c.PKI("apiserver.crt"),
		"--tls-private-key-file=" + c.PKI("apiserver.key"),
		"--client-ca-file=" + c.PKI("ca.crt"),
		"--endpoint-reconciler-type=none", // it would refuse an endpoint on loopback
		"--service-cluster-ip-range=" + c.ServiceSubnet(),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.PKI("service-account.pub"),
		"--service-account-signing-key-file=" + c.PKI("service-account.key"),
		"--requestheader-client-ca-file=" + c.PKI("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.PKI("front-proxy-client.crt"),
		"--proxy-client-key-file=" + c.PKI("front-proxy-client.key"),
		"--enable-aggregator-routing=true", // there is no kube-proxy, so webhooks are called at their pods' addresses
		"--kubelet-certificate-authority=" + c.PKI("ca.crt"),
		"--kubelet-client-certificate=" + c.PKI("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + c.PKI("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true",
		"--profiling=false",
		"--max-requests-inflight=4000",
		"--max-mutating-requests-inflight=2000",
	}
	config := c.AuthorizationConfig
	if config == "" {
		config = c.AuthorizationFile(authorization.ConfigFile)
	}
	return append(append(arguments, "--authorization-config="+config), c.APIServerArgs...)
}

func controllerManager(c *cluster.Cluster) []string {
	return []string{
		filepath.Join(c.Binaries, "kube-controller-manager"),
		"--kubeconfig=" + c.Kubeconfig("kube-controller-manager"),
		"--secure-port=0", // nobody asks it
		"--leader-elect=false",
		"--use-service-account-credentials", // each controller is told apart, as in a real cluster
		"--service-account-private-key-file=" + c.PKI("service-account.key"),
		"--root-ca-file=" + c.PKI("ca.crt"),
		"--concurrent-job-syncs=50",
		"--concurrent-gc-syncs=50",
		"--kube-api-qps=" + clientQPS,
		"--kube-api-burst=" + clientBurst,
	}
}

func scheduler(c *cluster.Cluster) ([]string, error) {
	file := c.Path("kube-scheduler.yaml")
	config := fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
parallelism: 16
clientConnection: {kubeconfig: %q, qps: %s, burst: %s}
`, c.Kubeconfig("kube-scheduler"), clientQPS, clientBurst)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return []string{filepath.Join(c.Binaries, "kube-scheduler"), "--config=" + file, "--secure-port=0"}, nil
}

func kwok(c *cluster.Cluster, config string) []string {
	return []string{
		filepath.Join(c.NodeBinaries, "kwok"),
		"--kubeconfig=" + c.Kubeconfig("kwok"),
		"--config=" + config,
		"--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
		"--v=WARN", // it tells of every pod otherwise
	}
}

func containerd(n cluster.Node, config string) []string {
	return []string{filepath.Join(n.NodeBinaries, "containerd"), "--config", config}
}

func kubelet(n cluster.Node, config string) []string {
	return []string{
		filepath.Join(n.Binaries, "kubelet"),
		"--kubeconfig=" + n.Kubeconfig("kubelet"+n.Suffix()),
		"--config=" + config,
		"--root-dir=" + n.Path("kubelet"),
		"--cert-dir=" + n.Path("kubelet", "pki"),
		"--hostname-override=" + n.NodeName(),
		"--node-ip=" + n.Address(),
	}
}
