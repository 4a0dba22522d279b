package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/test/harness"
)

// configuration is as much of an AuthorizationConfiguration as is changed here.
type configuration struct {
	APIVersion  string       `json:"apiVersion"`
	Kind        string       `json:"kind"`
	Authorizers []authorizer `json:"authorizers"`
}

type authorizer struct {
	Type    string         `json:"type"`
	Name    string         `json:"name"`
	Webhook map[string]any `json:"webhook,omitempty"`
}

// authorizationConfig writes the shipped permissive configuration with a webhook for each group, in place of the one: each is asked about
// the members of its group only. So one API server asks different webhooks in the same moment, and is otherwise the same.
func authorizationConfig(dir string, webhooks map[string]string) (string, error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	shipped := filepath.Join(root, "config", "authorization")
	content, err := os.ReadFile(filepath.Join(shipped, "permissive.yaml"))
	if err != nil {
		return "", err
	}
	var c configuration
	if err := yaml.UnmarshalStrict(content, &c); err != nil {
		return "", fmt.Errorf("read the shipped configuration: %w", err)
	}
	kubeconfig, err := os.ReadFile(filepath.Join(shipped, "kubeconfig.yaml"))
	if err != nil {
		return "", err
	}
	all := c.Authorizers
	c.Authorizers = nil
	for _, a := range all {
		if a.Type != "Webhook" {
			c.Authorizers = append(c.Authorizers, a)
			continue
		}
		for group, address := range webhooks {
			path, err := write(dir, group+".kubeconfig",
				strings.NewReplacer("/etc/kubernetes/grantry", dir, "127.0.0.1:9443", address).Replace(string(kubeconfig)))
			if err != nil {
				return "", err
			}
			forGroup, err := a.forGroup(group, path)
			if err != nil {
				return "", err
			}
			c.Authorizers = append(c.Authorizers, forGroup)
		}
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return "", err
	}
	return write(dir, "authorization.yaml", string(text))
}

// forGroup is the webhook at another place, for one group.
func (a authorizer) forGroup(group, kubeconfig string) (authorizer, error) {
	raw, err := json.Marshal(a.Webhook)
	if err != nil {
		return authorizer{}, err
	}
	hook := map[string]any{}
	if err := json.Unmarshal(raw, &hook); err != nil {
		return authorizer{}, err
	}
	conditions, ok := hook["matchConditions"].([]any)
	if !ok {
		return authorizer{}, fmt.Errorf("the shipped configuration has no matchConditions")
	}
	hook["matchConditions"] = append([]any{map[string]any{"expression": fmt.Sprintf("'%s' in request.groups", group)}}, conditions...)
	hook["connectionInfo"] = map[string]any{"type": "KubeConfigFile", "kubeConfigFile": kubeconfig}
	return authorizer{Type: a.Type, Name: group, Webhook: hook}, nil
}
