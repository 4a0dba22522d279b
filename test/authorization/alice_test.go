package authorization

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// kubectl runs kubectl as a user, and returns what it prints in either way.
func (u *user) kubectl(t *testing.T, args ...string) (out string, ok bool) {
	t.Helper()
	k, err := u.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := k.Run(append([]string{"-n", instance}, args...)...)
	var both strings.Builder
	for _, r := range []interface{ Read([]byte) (int, error) }{stdout, stderr} {
		if r != nil {
			buf := make([]byte, 1<<16)
			n, _ := r.Read(buf)
			both.Write(buf[:n])
		}
	}
	return both.String(), err == nil
}

// tryAlice is what a person sees who has one Grant, on dev.batch.
func tryAlice(t *testing.T, w *world) {
	t.Helper()
	alice := w.holder(t, "alice", readJobs)
	w.settled(t)
	for _, tc := range []struct {
		args string
		ok   bool
		want []string
		not  string
	}{
		{"get gjob dev.batch.job1", true, []string{"dev.batch.job1"}, ""},
		{"get gjob dev.other", false, []string{"Forbidden", `user alice may not "read" on jobs dev.other in metronome`}, ""},
		{"get gjob -l in.grantry.dev/dev.batch", true, []string{"dev.batch ", "dev.batch.job1", "dev.batch.job2"}, "dev.other"},
		{"get gjob", false, []string{`may not "read" on all jobs in metronome; a label selector in.grantry.dev/<path> asks`}, ""},
		{"get gjob -l in.grantry.dev/dev", false, []string{`may not "read" on jobs dev in metronome`}, ""},
		{"get jrun -l in.grantry.dev/dev.batch", true, []string{"r1"}, "other"},
		{"get gjob --field-selector metadata.name=dev.batch.job1", true, []string{"dev.batch.job1"}, "job2"},
		{"delete gjob dev.batch.job1 --dry-run=server", false, []string{`may not "delete" on jobs dev.batch.job1 in metronome`}, ""},
		{"auth can-i get gjob/dev.batch.job1", true, []string{"yes"}, ""},
		{"auth can-i get gjob/dev.other", false, []string{"no"}, ""},
		{"auth can-i list gjob", false, []string{"no"}, ""},
		{"auth can-i watch gjob", false, []string{"no"}, ""},
		{"auth can-i create gjob", false, []string{"no"}, ""},
		{"auth can-i delete gjob/dev.batch.job1", false, []string{"no"}, ""},
		{"auth can-i get jrun/r1", true, []string{"yes"}, ""},
		{"auth can-i get jrun/other", false, []string{"no"}, ""},
	} {
		out, ok := alice.kubectl(t, strings.Fields(tc.args)...)
		for _, part := range tc.want {
			if ok != tc.ok || !strings.Contains(out, part) || tc.not != "" && strings.Contains(out, tc.not) {
				t.Errorf("kubectl %s: %v: %s", tc.args, ok, out)
			}
		}
	}
}

// tryWatch: a watch by label delivers exactly the subtree, of Jobs that come without labels.
func tryWatch(t *testing.T, w *world) {
	t.Helper()
	watcher := w.holder(t, "watches", readJobs)
	w.settled(t)
	jobs, err := watcher.client(t).Watch(t.Context(), &v1alpha1.JobList{}, client.InNamespace(instance), client.HasLabels{inBatch})
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.Stop()
	runs, err := watcher.client(t).Watch(t.Context(), &v1alpha1.JobRunList{}, client.InNamespace(instance), client.HasLabels{inBatch})
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Stop()
	in, out := []string{"dev.batch.new1", "dev.batch.deep.new2"}, []string{"dev.new3", "dev.batchnew4", "prod.dev.batch.new5"}
	for i := range out {
		w.create(t, job(instance, out[i]), jobRun(instance, "of-"+out[i], out[i]))
		if i < len(in) {
			w.create(t, job(instance, in[i]), jobRun(instance, "of-"+in[i], in[i]))
		}
	}
	w.labelled(t, append(out, in...)...)
	w.child(t, "of-"+out[len(out)-1]) // it was adopted, and has its labels
	w.create(t, job(instance, "dev.batch.last"), jobRun(instance, "of-dev.batch.last", "dev.batch.last"))
	for _, name := range in {
		if err := w.admin.Delete(t.Context(), job(instance, name)); err != nil {
			t.Fatal(err)
		}
		if err := w.admin.Delete(t.Context(), jobRun(instance, "of-"+name, name)); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, events := range map[string]watch.Interface{"": jobs, "of-": runs} {
		added, deleted := map[string]bool{}, map[string]bool{}
		timeout := time.After(waitFor)
		for !added[prefix+"dev.batch.last"] || len(deleted) < len(in) {
			select {
			case event := <-events.ResultChan():
				object, ok := event.Object.(client.Object)
				if !ok {
					t.Fatalf("%s: %+v", event.Type, event.Object)
				}
				name := strings.TrimPrefix(object.GetName(), prefix)
				if name != "dev.batch" && !strings.HasPrefix(name, "dev.batch.") && name != "r1" && name != "r2" {
					t.Errorf("the watch shows %s", object.GetName())
				}
				switch event.Type {
				case watch.Added:
					added[object.GetName()] = true
				case watch.Deleted:
					deleted[object.GetName()] = true
				}
			case <-timeout:
				t.Fatalf("added %v, deleted %v", added, deleted)
			}
		}
		for _, name := range in {
			if !added[prefix+name] || !deleted[prefix+name] {
				t.Errorf("%s%s: added %v, deleted %v", prefix, name, added[prefix+name], deleted[prefix+name])
			}
		}
	}
}
