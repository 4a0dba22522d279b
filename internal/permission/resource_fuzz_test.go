package permission

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func FuzzParseResource(f *testing.F) {
	for _, s := range []string{
		"", "dcos:", "dcos:superuser", "dcos:superuser:", metronome, metronome + ":/dev.batch/job1/", metronome + "://", metronome + ":%2F%252f",
		"dcos:service:marathon:marathon:services:/", "dcos:mesos:agent:sandbox:app_id:%252Fa%252F", "dcos:mesos:master:framework:role:*",
		"dcos:adminrouter:service:a%2Fb", "dcos:secrets:default:/tenant/*", "dcos:mesos:master:x:user", "dcos:a\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseResource(s)
		if err != nil {
			if !r.IsZero() || err.(*ParseError).Offset > len(s) { //nolint:errorlint // the type is the contract
				t.Fatalf("%q: %v, %v", s, r, err)
			}
			return
		}
		if r.String() != s {
			t.Fatalf("%q is kept as %q", s, r)
		}
		canonical := r.Canonical()
		again, err := ParseResource(canonical)
		if err != nil || again.Canonical() != canonical || !again.Equal(r) || again.Family() != r.Family() {
			t.Fatalf("%q became %q, which became %q (%v)", s, canonical, again.Canonical(), err)
		}
		if !r.Covers(r) || !Superuser().Covers(r) || (r.Covers(Superuser()) && canonical != "dcos:superuser") {
			t.Fatalf("%q: wrong covering", s)
		}
	})
}

// segmentsOf is the reference: the segments of a jobs tail, the slow way.
func segmentsOf(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '/' })
}

func TestCovers_isSegmentPrefix(t *testing.T) {
	t.Parallel()
	path := rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for i, segment := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "a-b"}), 0, 4).Draw(t, "segments") {
			if i > 0 {
				b.WriteByte(rapid.SampledFrom([]byte("./")).Draw(t, "separator"))
			}
			b.WriteString(segment)
		}
		return b.String()
	})
	rapid.Check(t, func(t *rapid.T) {
		held, asked := path.Draw(t, "held"), path.Draw(t, "asked")
		h, a := segmentsOf(held), segmentsOf(asked)
		want := len(h) <= len(a) && slices.Equal(h, a[:len(h)])
		r, q := MustParseResource(metronome+":"+held), MustParseResource(metronome+":"+asked)
		if r.Covers(q) != want {
			t.Fatalf("%s covers %s: %v, want %v", r, q, !want, want)
		}
		if made := JobResource("metronome", strings.ReplaceAll(asked, "/", ".")); r.Covers(made) != want || !made.Equal(q) {
			t.Fatalf("%s covers %s: %v, want %v", r, made, !want, want)
		}
		if got := MustParseResource("dcos:mesos:master:task:app_id:/" + strings.ReplaceAll(held, ".", "/")).Covers(AppIDResource(MasterTask, "", strings.ReplaceAll(asked, "/", "."))); got != want {
			t.Fatalf("app_id %s covers %s: %v, want %v", held, asked, got, want)
		}
		if len(a) > 0 && !strings.Contains(asked, "/") {
			rest := strings.Join(a[1:], ".")
			if got := MustParseResource("dcos:mesos:master:task:app_id:/" + strings.ReplaceAll(held, ".", "/")).Covers(AppIDResource(MasterTask, a[0], rest)); got != want {
				t.Fatalf("app_id %s covers %s of instance %s: %v, want %v", held, rest, a[0], got, want)
			}
		}
	})
}
