package testing

import (
	"fmt"
	"os"
	"path/filepath"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// WebhookConfigurations are the shipped webhook configurations for an operator outside of the cluster: with a
// URL, such as https://localhost:9443, in place of the Service.
func WebhookConfigurations(url string) ([]client.Object, error) {
	mutating := &admissionregistrationv1.MutatingWebhookConfiguration{}
	validating := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	for file, into := range map[string]any{"mutating.yaml": mutating, "validating.yaml": validating} {
		text, err := os.ReadFile(filepath.Join(moduleRoot(), "config", "webhook", file))
		if err != nil {
			return nil, err
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			return nil, fmt.Errorf("config/webhook/%s: %w", file, err)
		}
	}
	for i := range mutating.Webhooks {
		redirect(&mutating.Webhooks[i].ClientConfig, url)
	}
	for i := range validating.Webhooks {
		redirect(&validating.Webhooks[i].ClientConfig, url)
	}
	return []client.Object{mutating, validating}, nil
}

func redirect(c *admissionregistrationv1.WebhookClientConfig, url string) {
	to := url + *c.Service.Path
	c.URL, c.Service = &to, nil
}
