package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// faster is by how much Prometheus' time passes faster: every duration in the shipped rules (for, ranges, offsets) and
// the 30 s between two scrapes are divided by it. What a rule compares with, and Grantry itself, stay as they are.
const faster = 20

// interval is the time between two scrapes.
const interval = 30 * time.Second / faster

var duration = regexp.MustCompile(`(for: |offset |\[)(\d+)([smh])`)

// quickened is a rule or query in the shorter time.
func quickened(text string) string {
	return duration.ReplaceAllStringFunc(text, func(found string) string {
		parts := duration.FindStringSubmatch(found)
		length, err := time.ParseDuration(parts[2] + parts[3])
		if err != nil {
			panic(err) // the expression takes no others
		}
		return fmt.Sprintf("%s%dms", parts[1], (length / faster).Milliseconds())
	})
}

// prometheus is one that runs.
type prometheus struct{ address, tokenFile string }

// alert is one that fires.
type alert struct {
	Labels, Annotations map[string]string
	State               string
}

func (a alert) name() string { return a.Labels["alertname"] }

// buildPrometheus compiles the Prometheus that hack/prometheus pins, and returns where it is; the first time, that takes
// minutes. $PROMETHEUS is one to take instead.
func buildPrometheus(t *testing.T, root string) string {
	t.Helper()
	if program := os.Getenv("PROMETHEUS"); program != "" {
		return program
	}
	build := exec.CommandContext(t.Context(), "go", "tool", "-n", "prometheus")
	build.Dir = filepath.Join(root, "hack", "prometheus")
	build.Env = append(os.Environ(), "GOFLAGS=-tags=remove_all_sd,enable_kubernetes_sd")
	var problems strings.Builder
	build.Stderr = &problems
	program, err := build.Output()
	if err != nil {
		t.Fatalf("build Prometheus: %v: %s", err, problems.String())
	}
	return strings.TrimSpace(string(program))
}

// configuration scrapes what the chart's ServiceMonitor has Prometheus scrape, and of the API server what an alert or the
// runbook looks at.
const configuration = `
global: {scrape_interval: %[1]dms, scrape_timeout: %[1]dms, evaluation_interval: %[1]dms}
rule_files: [rules.yaml]
scrape_configs:
- job_name: grantry-metrics
  scheme: https
  authorization: {credentials_file: token}
  tls_config: {insecure_skip_verify: true}
  kubernetes_sd_configs:
  - {role: endpointslice, kubeconfig_file: %[2]q, namespaces: {names: [grantry-system]}}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_service_name], regex: grantry-metrics, action: keep}
  - {source_labels: [__meta_kubernetes_endpointslice_port_name], regex: metrics, action: keep} # the slice makes targets of every port of the pods
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
- job_name: apiserver
  scheme: https
  scrape_interval: 3s # it has much to tell
  scrape_timeout: 3s
  authorization: {credentials_file: token}
  tls_config: {insecure_skip_verify: true}
  static_configs: [{targets: [%[3]q]}]
  metric_relabel_configs: [{source_labels: [__name__], regex: apiserver_(authorization|admission)_webhook_.+, action: keep}]
`

// watch starts Prometheus, and waits until it sees every replica.
func (s *site) watch(t *testing.T, program string) *prometheus {
	t.Helper()
	shipped, err := os.ReadFile("config/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ Spec any }
	if err := yaml.Unmarshal([]byte(quickened(string(shipped))), &object); err != nil {
		t.Fatal(err)
	}
	rules, err := yaml.Marshal(object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	config, err := s.Config("admin")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"rules.yaml":      string(rules),
		"token":           s.token(t),
		"prometheus.yaml": fmt.Sprintf(configuration, interval.Milliseconds(), s.Kubeconfig("admin"), strings.TrimPrefix(config.Host, "https://")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &prometheus{address: grantrytesting.FreeAddress(t), tokenFile: filepath.Join(dir, "token")}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // the test's own ends before its cleanups
	cmd := exec.CommandContext(ctx, program, "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	cmd.Stdout, cmd.Stderr = log, log
	harness.DieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the end of Prometheus' log:\n%s", text[max(0, len(text)-2000):])
		}
	})
	eventually(t, "Prometheus sees both replicas", func() error {
		if got := p.query(t.Context(), `sum(up{job="grantry-metrics"})`); !slices.Equal(got, []string{"{} 2"}) {
			return fmt.Errorf("it sees %q", got)
		}
		return nil
	})
	return p
}

// token is one of Prometheus' account.
func (s *site) token(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(s.kubectl(t, "create", "token", "prometheus", "-n", "monitoring", "--duration=4h"))
}

// renewToken gives Prometheus another token. A replica remembers for a minute that it is good: for so long it can be scraped
// without asking the API server.
func (s *site) renewToken(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.tokenFile, []byte(s.token(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * interval)
}

func (p *prometheus) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(&struct{ Data any }{into})
}

// query is what a query gives, each series as {labels} value, without those that are not a number; nil if it fails.
func (p *prometheus) query(ctx context.Context, expression string) []string {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := p.get(ctx, "query?query="+url.QueryEscape(quickened(expression)), &answer); err != nil {
		return nil
	}
	var series []string
	for _, r := range answer.Result {
		if value := fmt.Sprint(r.Value[1]); value != "NaN" {
			var labels []string
			for _, name := range slices.Sorted(maps.Keys(r.Metric)) {
				labels = append(labels, fmt.Sprintf("%s=%q", name, r.Metric[name]))
			}
			series = append(series, "{"+strings.Join(labels, ", ")+"} "+value)
		}
	}
	slices.Sort(series)
	return series
}

// firing are the alerts that fire, or nil where Prometheus does not say.
func (p *prometheus) firing(ctx context.Context) map[string][]alert {
	var answer struct{ Alerts []alert }
	if err := p.get(ctx, "alerts", &answer); err != nil {
		return nil
	}
	fires := map[string][]alert{}
	for _, a := range answer.Alerts {
		if a.State == "firing" {
			fires[a.name()] = append(fires[a.name()], a)
		}
	}
	return fires
}

// eventually waits for something to come true.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	harness.Retry(t, patience, 500*time.Millisecond, what, try)
}
