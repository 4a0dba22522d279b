package command

import (
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

func TestParseGroups(t *testing.T) {
	for name, tc := range map[string]struct {
		flags     []string
		want      map[string][]string
		wantError bool
	}{
		"none":                  {want: map[string][]string{}},
		"several of a user":     {flags: []string{"alice=marketing,dev"}, want: map[string][]string{"alice": {"marketing", "dev"}}},
		"two flags for a user":  {flags: []string{"bob=a", "bob=b"}, want: map[string][]string{"bob": {"a", "b"}}},
		"no groups":             {flags: []string{"alice="}, wantError: true},
		"no user":               {flags: []string{"=dev"}, wantError: true},
		"no equals sign":        {flags: []string{"alice"}, wantError: true},
		"a user that is a path": {flags: []string{"../x=dev"}, wantError: true}, // it names a file
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseGroups(tc.flags)
			if (err != nil) != tc.wantError || (err == nil && !reflect.DeepEqual(got, tc.want)) {
				t.Errorf("parseGroups = %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestUpOptionsComplete_refuses(t *testing.T) {
	good := upOptions{nodes: "none", mode: "disabled", settings: cluster.Settings{Name: "dev", KwokNodes: 2, RealNodes: 1, KwokComplete: cluster.CompleteAnnotated}}
	if _, _, err := good.complete(io.Discard); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*upOptions){
		"--nodes=many":           func(o *upOptions) { o.nodes = "many" },
		"--mode":                 func(o *upOptions) { o.mode = "lax" },
		"--kwok-nodes=0":         func(o *upOptions) { o.settings.KwokNodes = 0 },
		"--real-nodes=0":         func(o *upOptions) { o.settings.RealNodes = 0 },
		"--real-nodes=5":         func(o *upOptions) { o.settings.RealNodes = 5 },
		"--kwok-complete=never":  func(o *upOptions) { o.settings.KwokComplete = "never" },
		"--authorization-config": func(o *upOptions) { o.settings.AuthorizationConfig = "/does/not/exist" },
	} {
		options := good
		spoil(&options)
		if _, _, err := options.complete(io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %s", err, want)
		}
	}
}

func TestPrintProgress_endsAtReady(t *testing.T) {
	var out strings.Builder
	if !printProgress(strings.NewReader("starting\nready\nmore\n"), &out) || out.String() != "starting\n" {
		t.Errorf("printed %q", out.String())
	}
	if printProgress(strings.NewReader("starting\n"), io.Discard) {
		t.Error("ready without the word")
	}
}
