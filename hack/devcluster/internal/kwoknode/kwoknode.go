// Package kwoknode configures simulated nodes: KWOK gives pods the status that a kubelet would, and runs
// nothing.
package kwoknode

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

//go:embed stages/*.yaml
var stages embed.FS

// configuration raises KWOK's limits: its defaults play four pods at a time.
const configuration = `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  podPlayStageParallelism: 64
  nodePlayStageParallelism: 16
  podsOnNodeSyncParallelism: 8
`

// WriteConfig writes what kwok reads, and returns the file.
func WriteConfig(c *cluster.Cluster) (string, error) {
	documents := []string{configuration}
	for _, name := range stageFiles(c.KwokComplete) {
		data, err := stages.ReadFile("stages/" + name)
		if err != nil {
			return "", err
		}
		documents = append(documents, string(data))
	}
	file := c.Path("node", "kwok.yaml")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	return file, os.WriteFile(file, []byte(strings.Join(documents, "---\n")), 0o600)
}

func stageFiles(complete cluster.Completion) []string {
	files := []string{"node-initialize.yaml", "pod-ready.yaml", "pod-end-deleted.yaml", "pod-delete.yaml", "pod-fail-annotated.yaml"}
	if complete == cluster.CompleteImmediately {
		return append(files, "pod-complete-immediately.yaml")
	}
	return append(files, "pod-complete-annotated.yaml")
}

// Nodes are the simulated nodes, as the API takes them. They have room for any number of pods, so that a
// throughput test measures the control plane and not the scheduler's lack of space.
func Nodes(count int) []map[string]any {
	var nodes []map[string]any
	for i := range count {
		name := fmt.Sprintf("kwok-%d", i)
		room := map[string]any{"cpu": "10k", "memory": "100Ti", "pods": "1M"}
		nodes = append(nodes, map[string]any{
			"apiVersion": "v1",
			"kind":       "Node",
			"metadata": map[string]any{
				"name":        name,
				"annotations": map[string]any{"kwok.x-k8s.io/node": "fake"},
				"labels": map[string]any{
					"kubernetes.io/hostname": name,
					"kubernetes.io/os":       "linux",
					"type":                   "kwok",
				},
			},
			"status": map[string]any{"allocatable": room, "capacity": room},
		})
	}
	return nodes
}
