package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Operator is a running operator.
type Operator struct {
	cmd     *exec.Cmd
	ended   chan struct{}
	metrics string
	health  string
	log     *os.File
}

// BuildOperator compiles the operator and returns the binary's path, below the cluster's own directory so
// that it goes with the cluster.
func (c *Cluster) BuildOperator(ctx context.Context) (string, error) {
	return build(ctx, c.root, c.directory, c.detached)
}

// BuildOperator compiles the operator into a directory, for a test that has an API server of its own.
func BuildOperator(ctx context.Context, directory string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	return build(ctx, root, directory, false)
}

func build(ctx context.Context, root, directory string, detached bool) (string, error) {
	binary := filepath.Join(directory, "grantry")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	cmd.Dir = root
	if !detached {
		DieWithParent(cmd) // or it would write into a directory that is gone by then
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the operator: %w: %s", err, out)
	}
	return binary, nil
}

// StartOperator starts the operator's binary against the cluster, as its own service account, and returns
// at once: see WaitReady. Its log is appended to the file LogPath. It serves the authorization webhook if its
// arguments include Webhook.Args, and --mode must then be the API server's.
func (c *Cluster) StartOperator(ctx context.Context, binary string, args ...string) (*Operator, error) {
	kubeconfig, err := c.OperatorKubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	return launch(binary, kubeconfig, c.LogPath(), c.detached, args...)
}

// StartOperator starts the operator's binary with a kubeconfig, and returns at once: see WaitReady. Its log is
// appended to a file.
func StartOperator(binary, kubeconfig, logPath string, args ...string) (*Operator, error) {
	return launch(binary, kubeconfig, logPath, false, args...)
}

func launch(binary, kubeconfig, logPath string, detached bool, args ...string) (*Operator, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	o := &Operator{
		ended: make(chan struct{}), log: log,
		metrics: fmt.Sprintf("127.0.0.1:%d", ports[0]), health: fmt.Sprintf("127.0.0.1:%d", ports[1]),
	}
	o.cmd = exec.Command(binary, append([]string{
		"--kubeconfig", kubeconfig, "--leader-elect=false",
		"--metrics-bind-address", o.metrics, "--metrics-secure=false", "--health-probe-bind-address", o.health,
	}, args...)...)
	o.cmd.Stdout, o.cmd.Stderr = log, log
	if !detached {
		DieWithParent(o.cmd)
	}
	if err := o.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the operator: %w", err), log.Close())
	}
	go func() {
		_ = o.cmd.Wait() // a killed process ends with an error, and is meant to
		_ = log.Close()
		close(o.ended)
	}()
	return o, nil
}

// LogPath is the file that holds the log of every operator of the cluster.
func (c *Cluster) LogPath() string { return filepath.Join(c.directory, "logs", "grantry.log") }

// OperatorKubeconfig is the file with which the operator speaks to the cluster. Its certificate is minted once.
func (c *Cluster) OperatorKubeconfig(ctx context.Context) (string, error) {
	if file := c.Kubeconfig(OperatorUser); file != "" {
		return file, nil
	}
	return c.MintAccount(ctx, OperatorUser)
}

// IsReady reports whether the operator says that it is ready.
func (o *Operator) IsReady() bool {
	response, err := http.Get("http://" + o.health + "/readyz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// WaitReady waits until the operator says that it is ready, or has ended.
func (o *Operator) WaitReady(ctx context.Context) error {
	for {
		if o.IsReady() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the operator is not ready: %w", ctx.Err())
		case <-o.ended:
			return fmt.Errorf("the operator ended before it was ready; see %s", o.log.Name())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Ended is closed when the operator has ended, however it did.
func (o *Operator) Ended() <-chan struct{} { return o.ended }

// PID is the operator's process id.
func (o *Operator) PID() int { return o.cmd.Process.Pid }

// Kill ends the operator as a crash would, and waits until it is gone.
func (o *Operator) Kill() {
	_ = o.cmd.Process.Signal(syscall.SIGKILL) // it may have ended by itself
	<-o.ended
}

// Stop ends the operator as a rolling update would, and waits until it is gone.
func (o *Operator) Stop() {
	_ = o.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-o.ended
}

// Usage is what the operator has consumed so far; it is complete once the operator has ended.
func (o *Operator) Usage() *syscall.Rusage {
	if o.cmd.ProcessState == nil {
		return nil
	}
	usage, _ := o.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return usage
}

// Metrics reads the operator's metrics.
func (o *Operator) Metrics() (map[string]*dto.MetricFamily, error) {
	response, err := http.Get("http://" + o.metrics + "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

// APICalls is how many requests the operator has sent to the API server, watches included.
func (o *Operator) APICalls() (float64, error) {
	families, err := o.Metrics()
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum, nil
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
