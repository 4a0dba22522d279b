package authorization

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseReloads(t *testing.T) {
	const (
		info    = `apiserver_authorization_config_controller_last_config_info{apiserver_id_hash="sha256:aa",hash="sha256:bb"} 1` + "\n"
		success = `apiserver_authorization_config_controller_automatic_reloads_total{apiserver_id_hash="sha256:aa",status="success"} 7` + "\n"
		failure = `apiserver_authorization_config_controller_automatic_reloads_total{apiserver_id_hash="sha256:aa",status="failure"} 3` + "\n"
	)
	for name, tc := range map[string]struct {
		metrics   string
		want      reloads
		wantError bool
	}{
		"never reloaded":       {metrics: info, want: reloads{inUse: "sha256:bb"}},
		"taken only":           {metrics: info + success, want: reloads{inUse: "sha256:bb"}},
		"refused some":         {metrics: success + failure + info, want: reloads{inUse: "sha256:bb", refused: 3}},
		"no metric of its own": {metrics: "# HELP apiserver_authorization_config_controller_last_config_info x\n" + failure, wantError: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseReloads(tc.metrics)
			if (err != nil) != tc.wantError || got != tc.want {
				t.Errorf("parseReloads = %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestRefusal_isTheLastOne(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if got := refusal(log); got == "" {
		t.Error("nothing is said of a log that is not there")
	}
	for content, want := range map[string]string{
		"":           "see " + log,
		"I1 other\n": "see " + log,
		`E1 reload.go:1] "reloading authorization config" err="first"` + "\n" + `E1 reload.go:1] "reloading authorization config" err="second"` + "\nI1 other\n": `"second"`,
	} {
		if err := os.WriteFile(log, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := refusal(log); got != want {
			t.Errorf("refusal %s, want %s", got, want)
		}
	}
}
