package authorizer

import (
	"slices"
	"strings"
	"testing"

	"github.com/grantry/grantry/internal/permission"
)

// TestAuthorize_openPodLists: whoever lists all pods of a namespace sees those of runs, too.
func TestAuthorize_openPodLists(t *testing.T) {
	t.Parallel()
	all := append(recipe2("metronome", ""), "dcos:adminrouter:ops:mesos full")
	cases := map[string]struct {
		held      []string
		namespace string
		verb      string
		want      Verdict
	}{
		"who may see all tasks is judged by RBAC": {all, "metronome", "list pods", NoOpinion},
		"who may not is refused":                  {nil, "metronome", "list pods", Deny},
		"nor may it wait for a pod":               {nil, "metronome", "watch pods none", Deny},
		"one of no run is watched by its name":    {nil, "metronome", "watch pods plain", NoOpinion},
		"and listed":                              {nil, "metronome", "list pods plain", NoOpinion},
		"nor list the pods of all namespaces":     {all, "", "list pods", Deny},
		"where no Jobs are nobody is refused":     {nil, "kube-system", "list pods", NoOpinion},
		"not knowing is no":                       {all, "down", "list pods", Deny},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(tc.verb)
			r.Namespace = tc.namespace
			if got := newAuthorizer(permission.ModeStrict, grants(tc.held...)).Authorize(t.Context(), r); got.Verdict != tc.want {
				t.Errorf("got %s: %q", got.Verdict, got.Reason)
			}
		})
	}
}

// recipe2 is R2's: jobs read, and the permissions of Mesos without the sandbox.
func recipe2(namespace, path string) []string {
	app := ""
	if path != "" {
		app = ":/" + strings.ReplaceAll(path, ".", "/")
		path = ":" + path
	}
	return []string{
		"dcos:service:metronome:" + namespace + ":jobs" + path + " read",
		"dcos:mesos:master:framework:role:* read",
		"dcos:mesos:master:executor:app_id" + app + " read",
		"dcos:mesos:master:task:app_id" + app + " read",
		"dcos:mesos:agent:framework:role:* read",
		"dcos:mesos:agent:executor:app_id" + app + " read",
		"dcos:mesos:agent:task:app_id" + app + " read",
	}
}

// TestAuthorize_podOfARunThatIsGone: nobody knows its Job, so that it takes the permission on all of them.
func TestAuthorize_podOfARunThatIsGone(t *testing.T) {
	t.Parallel()
	const mesos = "dcos:adminrouter:ops:mesos full"
	cases := map[string]struct {
		held []string
		ask  string
		want Verdict
	}{
		"on one subtree":       {append(recipe2("metronome", "dev.batch"), mesos), "get pods gone", Deny},
		"on all":               {append(recipe2("metronome", ""), mesos), "get pods gone", Allow},
		"exec, by nobody":      {nil, "create pods/exec gone", Deny},
		"pinned, on a subtree": {append(recipe2("metronome", "dev.other"), mesos), "list pods gone", Deny},
		"superuser":            {[]string{"dcos:superuser full"}, "get pods/log gone", Allow},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newAuthorizer(permission.ModeStrict, grants(tc.held...)).Authorize(t.Context(), request(tc.ask))
			if got.Verdict != tc.want {
				t.Errorf("got %s: %q", got.Verdict, got.Reason)
			}
		})
	}
}

// TestAuthorize_recipes: with exactly these strings a user can, and with any one of them removed can't.
func TestAuthorize_recipes(t *testing.T) {
	t.Parallel()
	const mesos, slave = "dcos:adminrouter:ops:mesos full", "dcos:adminrouter:ops:slave full"
	read := batchID + " read"
	r2 := recipe2("metronome", "dev.batch")
	r2log := append(slices.Clone(r2), "dcos:mesos:agent:sandbox:app_id:/dev/batch read", mesos, slave)
	r4 := []string{
		mesos, slave,
		"dcos:mesos:agent:container:app_id:/dev/batch read", "dcos:mesos:agent:nested_container_session:app_id:/dev/batch create",
		"dcos:mesos:master:executor:app_id:/dev/batch read", "dcos:mesos:master:framework:role:* read",
		"dcos:mesos:master:task:app_id:/dev/batch read",
	}
	enters := []string{
		"create pods/exec", "get pods/exec", "create pods/attach", "get pods/attach", "create pods/portforward", "get pods/portforward",
		"get pods/proxy", "create pods/proxy", "update pods/proxy", "patch pods/proxy", "delete pods/proxy", "other pods/proxy",
	}
	sees := []string{"get pods", "get pods/status", "get pods/resize", "list pods", "watch pods"}
	adds := []string{"patch pods/ephemeralcontainers", "update pods/ephemeralcontainers", "get pods/ephemeralcontainers"}
	cases := map[string]struct {
		mode permission.SecurityMode
		held []string
		asks []string
	}{
		"R1 task, permissive":     {permission.ModePermissive, []string{read, mesos}, sees},
		"R1 log, permissive":      {permission.ModePermissive, []string{read, mesos, slave}, []string{"get pods/log"}},
		"R4 debugging permissive": {permission.ModePermissive, []string{mesos, slave}, append(adds, enters...)},
		"R2 task, strict":         {permission.ModeStrict, append(slices.Clip(r2), mesos), sees},
		"R2 log, strict":          {permission.ModeStrict, r2log, []string{"get pods/log"}},
		"R4 debugging, strict":    {permission.ModeStrict, r4, enters},
		"R4 terminal, strict":     {permission.ModeStrict, append(slices.Clip(r4), "dcos:mesos:agent:container:app_id:/dev/batch update"), adds},
	}
	for name, tc := range cases {
		for _, ask := range tc.asks {
			t.Run(name+", "+ask, func(t *testing.T) {
				t.Parallel()
				verdict := func(r *Request, held ...string) Decision {
					return newAuthorizer(tc.mode, grants(held...)).Authorize(t.Context(), r)
				}
				if got := verdict(request(ask+" r1"), tc.held...); got.Verdict != Allow {
					t.Errorf("with all of them: %s: %q", got.Verdict, got.Reason)
				}
				scoped := false
				for i := range tc.held {
					without := append(append([]string{}, tc.held[:i]...), tc.held[i+1:]...)
					if got := verdict(request(ask+" r1"), without...); got.Verdict == Allow {
						t.Errorf("without %s: allowed", tc.held[i])
					}
					scoped = scoped || strings.Contains(tc.held[i], "dev")
				}
				if got := verdict(request(ask+" other"), tc.held...); scoped && got.Verdict == Allow {
					t.Errorf("the pod of another job: %q", got.Reason)
				}
				if got := verdict(request(ask+" none"), tc.held...); got.Verdict == Allow {
					t.Errorf("the pod of no run: %q", got.Reason)
				}
				if strings.HasSuffix(ask, " pods") && !strings.HasPrefix(ask, "get") {
					if got := verdict(request(ask, exists(inBatch)), tc.held...); got.Verdict != Allow {
						t.Errorf("pinned to the subtree: %s: %q", got.Verdict, got.Reason)
					}
					larger := verdict(request(ask, exists("in.grantry.dev/dev")), tc.held...)
					if larger.Verdict == Allow {
						t.Errorf("pinned to a larger subtree: %q", larger.Reason)
					}
					for _, name := range []string{" other", " none", " plain"} { // which of them there is, isn't told
						if got := verdict(request(ask+name, exists(inBatch)), tc.held...); got.Verdict != Allow {
							t.Errorf("pinned to the subtree,%s: %s: %q", name, got.Verdict, got.Reason)
						}
						if got := verdict(request(ask+name, exists("in.grantry.dev/dev")), tc.held...); got != larger {
							t.Errorf("pinned to a larger subtree,%s: %+v, and without the name %+v", name, got, larger)
						}
					}
					if got := verdict(request(ask+" r1", exists("in.grantry.dev/dev")), tc.held...); got.Verdict != Allow {
						t.Errorf("pinned to a larger subtree, and by name: %s: %q", got.Verdict, got.Reason)
					}
				}
			})
		}
	}
}

// TestAuthorize_hides: a pod of a Job that the user may not see looks like any other.
func TestAuthorize_hides(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(permission.ModePermissive, grants("dcos:adminrouter:ops:mesos full"))
	of, none := a.Authorize(t.Context(), request("get pods r1")), a.Authorize(t.Context(), request("get pods none"))
	of.Family = none.Family // only the operator is told it
	if of != none {
		t.Errorf("%+v and %+v", of, none)
	}
	a.Mode = permission.ModeStrict
	if got := a.Authorize(t.Context(), request("get pods r1")); got.Verdict != Deny || strings.Contains(got.Reason, "job1") {
		t.Errorf("strict: %s: %q", got.Verdict, got.Reason)
	}
}

func TestAuthorize_strictApplicationIDs(t *testing.T) {
	t.Parallel()
	held := append(recipe2("team", "dev.batch"), "dcos:adminrouter:ops:mesos full")
	for i, s := range held {
		held[i] = strings.Replace(s, "app_id:/dev", "app_id:/team/dev", 1)
	}
	r := request("get pods r1")
	r.Namespace = "team"
	if got := newAuthorizer(permission.ModeStrict, grants(held...)).Authorize(t.Context(), r); got.Verdict != Allow {
		t.Errorf("%s: %q", got.Verdict, got.Reason)
	}
}
