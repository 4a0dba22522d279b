package v1alpha1

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvValue(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in   string
		want EnvValue
	}{
		"a string":                    {in: `"a"`, want: EnvValue{Value: "a"}},
		"an empty string":             {in: `""`, want: EnvValue{}},
		"a secret":                    {in: `{"secret":"pw"}`, want: EnvValue{Secret: "pw"}},
		"a number is kept as invalid": {in: `1`, want: EnvValue{Invalid: `1`}},
		"so is null":                  {in: `null`, want: EnvValue{Invalid: `null`}},
		"so is a list":                {in: `["a"]`, want: EnvValue{Invalid: `["a"]`}},
		"so is a secret without name": {in: `{"secret":""}`, want: EnvValue{Invalid: `{"secret":""}`}},
		"so is a secret with company": {in: `{"secret":"a","value":"b"}`, want: EnvValue{Invalid: `{"secret":"a","value":"b"}`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := EnvValue{Value: "old", Secret: "old", Invalid: "old"}
			if err := json.Unmarshal([]byte(tc.in), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("it reads (-want +got):\n%s", diff)
			}
			out, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != tc.in {
				t.Errorf("it writes %s, want what was read: %s", out, tc.in)
			}
		})
	}
}

func TestEnvValue_thatIsNoJSONCantBeWritten(t *testing.T) {
	t.Parallel()
	if out, err := json.Marshal(EnvValue{Invalid: "{"}); err == nil {
		t.Errorf("it writes %s", out)
	}
}
