package authorization

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/grantry/grantry/hack/devcluster/internal/api"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// reloadLimit is how long the API server may take. It is told of a changed file at once, and looks once a minute
// if that fails.
const reloadLimit = 90 * time.Second

// Redirect changes where the API server expects the webhook from the next Switch on. An API server reads an address only
// together with a configuration that differs, so the present mode must be one that asks nobody.
func Redirect(c *cluster.Cluster, shipped, address string) error {
	if c.AuthorizationConfig != "" {
		return fmt.Errorf("cluster %q was started with --authorization-config=%s: edit that file", c.Name, c.AuthorizationConfig)
	}
	mode, err := Current(c)
	if err != nil {
		return err
	}
	if mode != Disabled && address != c.WebhookAddress() {
		return fmt.Errorf("the API server asks %s: switch to mode %s first", c.WebhookAddress(), Disabled)
	}
	c.Webhook = address
	kubeconfig, err := render(filepath.Join(shipped, kubeconfigFile), placeholders(c))
	if err != nil {
		return err
	}
	if err := replaceFile(c.AuthorizationFile(kubeconfigFile), kubeconfig); err != nil {
		return err
	}
	return c.Save()
}

// Switch gives a running API server the configuration of another mode and returns when it is in use. A
// configuration that the server refuses is taken back, and the error has the server's own words.
func Switch(ctx context.Context, c *cluster.Cluster, shipped string, mode Mode) error {
	if c.AuthorizationConfig != "" {
		return fmt.Errorf("cluster %q was started with --authorization-config=%s: edit that file", c.Name, c.AuthorizationConfig)
	}
	config, err := renderConfig(c, shipped, mode)
	if err != nil {
		return err
	}
	return apply(ctx, c, config)
}

// apply gives the API server this configuration, or leaves it the one that it has.
func apply(ctx context.Context, c *cluster.Cluster, config []byte) error {
	file := c.AuthorizationFile(ConfigFile)
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if bytes.Equal(before, config) {
		return nil
	}
	server, err := api.New(c)
	if err != nil {
		return err
	}
	start, err := observe(ctx, server)
	if err != nil {
		return err
	}
	if err := replaceFile(file, config); err != nil {
		return err
	}
	if err := awaitReload(ctx, c, server, start, fmt.Sprintf("sha256:%x", sha256.Sum256(config))); err != nil {
		return errors.Join(err, replaceFile(file, before))
	}
	return nil
}

func awaitReload(ctx context.Context, c *cluster.Cluster, server *api.Client, start reloads, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, reloadLimit)
	defer cancel()
	for {
		now, err := observe(ctx, server)
		switch {
		case err != nil:
			return err
		case now.inUse == hash:
			return nil
		case now.refused > start.refused:
			return fmt.Errorf("the API server refused the configuration and keeps the one before: %s", refusal(c.Log("kube-apiserver")))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server has not read its configuration: %w; see %s", ctx.Err(), c.Log("kube-apiserver"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// reloads is what the API server's metrics say of its configuration.
type reloads struct {
	inUse   string // hash of the file that is in use
	refused int    // how many files were not taken
}

var (
	inUseMetric   = regexp.MustCompile(`(?m)^apiserver_authorization_config_controller_last_config_info\{.*\bhash="(sha256:[0-9a-f]+)"`)
	refusedMetric = regexp.MustCompile(`(?m)^apiserver_authorization_config_controller_automatic_reloads_total\{.*\bstatus="failure".*\} (\d+)`)
)

func observe(ctx context.Context, server *api.Client) (reloads, error) {
	text, err := server.Text(ctx, "/metrics")
	if err != nil {
		return reloads{}, err
	}
	return parseReloads(text)
}

func parseReloads(metrics string) (reloads, error) {
	inUse := inUseMetric.FindStringSubmatch(metrics)
	if inUse == nil {
		return reloads{}, errors.New("the API server's metrics don't say which authorization configuration it uses")
	}
	found := reloads{inUse: inUse[1]}
	if refused := refusedMetric.FindStringSubmatch(metrics); refused != nil { // not there before the first
		var err error
		if found.refused, err = strconv.Atoi(refused[1]); err != nil {
			return reloads{}, err
		}
	}
	return found, nil
}

// refusal is the API server's last word on a configuration that it did not take.
func refusal(log string) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	last := "see " + log
	for line := range strings.Lines(string(data)) {
		if _, reason, found := strings.Cut(line, `"reloading authorization config" err=`); found {
			last = strings.TrimSpace(reason)
		}
	}
	return last
}
