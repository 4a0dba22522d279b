package kwoknode

import (
	"os"
	"strings"
	"testing"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

func TestWriteConfig_completion(t *testing.T) {
	for complete, want := range map[cluster.Completion]string{
		cluster.CompleteAnnotated:   "name: pod-complete-annotated",
		cluster.CompleteImmediately: "name: pod-complete-immediately",
	} {
		c := &cluster.Cluster{Dir: t.TempDir(), Settings: cluster.Settings{KwokComplete: complete}}
		file, err := WriteConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), want) || strings.Count(string(data), "name: pod-complete-") != 1 {
			t.Errorf("%s: the stages are not just %q", complete, want)
		}
	}
}
