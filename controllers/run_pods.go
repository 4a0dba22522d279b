package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/grantry/grantry/api/v1alpha1"
)

// podSettleTime is how long the changes of a run's pods are gathered: a pod that starts changes several times
// within a second.
const podSettleTime = 500 * time.Millisecond

// byRun is the index by which the pods of a run are found.
const byRun = "run"

// runPods watches the pods of runs, and keeps of each what a run's status tells: about a kilobyte. Only the
// leader does. The zero value knows no pods.
type runPods struct {
	informer toolscache.SharedIndexInformer

	mu sync.Mutex
	// departed are pods that are gone, until the status of their run tells of them: a pod that was told to go ends in
	// the moment in which it goes.
	departed map[types.NamespacedName][]*runPod
}

var _ source.SyncingSource = (*runPods)(nil)

// prepare makes the watch that Start begins.
func (p *runPods) prepare(mgr ctrl.Manager) error {
	config := rest.CopyConfig(mgr.GetConfig())
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	core, err := corev1client.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a client for the pods of runs: %w", err)
	}
	ofRuns := func(options *metav1.ListOptions) { options.LabelSelector = v1alpha1.LabelRun }
	pods := toolscache.NewFilteredListWatchFromClient(core.RESTClient(), "pods", metav1.NamespaceAll, ofRuns)
	p.informer = toolscache.NewSharedIndexInformer(pods, &corev1.Pod{}, 0, toolscache.Indexers{byRun: runOfPod})
	return p.informer.SetTransform(slimPod)
}

// slimPod is idempotent: what comes is a pod, or what was made of one.
func slimPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		return podOfRun(pod), nil
	}
	return object, nil
}

func runOfPod(object any) ([]string, error) {
	if pod, ok := object.(*runPod); ok {
		return []string{string(pod.runUID)}, nil
	}
	return nil, nil
}

// Start begins to watch, and returns. A pod that has changed brings its run into the queue.
func (p *runPods) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	enqueue := func(pod *runPod) {
		if pod.run.Name != "" {
			queue.AddAfter(reconcile.Request{NamespacedName: pod.run}, podSettleTime)
		}
	}
	_, err := p.informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { enqueue(object.(*runPod)) },
		UpdateFunc: func(was, is any) {
			if pod := is.(*runPod); !equality.Semantic.DeepEqual(was.(*runPod).task, pod.task) || was.(*runPod).waits != pod.waits {
				enqueue(pod)
			}
		},
		DeleteFunc: func(object any) {
			if unseen, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = unseen.Obj
			}
			pod := object.(*runPod)
			p.depart(pod)
			enqueue(pod)
		},
	})
	if err != nil {
		return fmt.Errorf("watch the pods of runs: %w", err)
	}
	go p.informer.RunWithContext(ctx)
	return nil
}

// WaitForSync waits until every pod is known.
func (p *runPods) WaitForSync(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), p.informer.HasSynced) {
		return fmt.Errorf("wait for the pods of runs: %w", context.Cause(ctx))
	}
	return nil
}

// of are the pods of a run that its child controls. They are shared and must not be changed.
func (p *runPods) of(run *v1alpha1.JobRun, child types.UID) (pods []*runPod) {
	if p.informer != nil {
		found, _ := p.informer.GetIndexer().ByIndex(byRun, string(run.UID)) // there is an index of that name
		for _, object := range found {
			if pod := object.(*runPod); pod.child == child {
				pods = append(pods, pod)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pod := range p.departed[types.NamespacedName{Namespace: run.Namespace, Name: run.Name}] {
		if pod.runUID == run.UID && pod.child == child {
			pods = append(pods, pod)
		}
	}
	return pods
}

// depart remembers a pod that is gone.
func (p *runPods) depart(pod *runPod) {
	if pod.run.Name == "" {
		return // no run's: they all say of which they are
	}
	gone := *pod
	if !hasEnded(gone.task) {
		gone.task.State = v1alpha1.TaskLost
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.departed == nil {
		p.departed = map[types.NamespacedName][]*runPod{}
	}
	departed := p.departed[pod.run]
	p.departed[pod.run] = append(departed[max(0, len(departed)-maxTasks+1):], &gone)
}

// told drops pods that are gone once the status of their run tells of them.
func (p *runPods) told(run types.NamespacedName, pods []*runPod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(p.departed[run], func(pod *runPod) bool { return slices.Contains(pods, pod) })
	if len(left) == 0 {
		delete(p.departed, run)
		return
	}
	p.departed[run] = left
}

// forget drops the pods of a run that has ended or is gone.
func (p *runPods) forget(run types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.departed, run)
}

// podsOf are the pods of a run. The cache may be behind the child that tells of its end, or of pods that have ended:
// the API server is asked then, so that nothing of the run's end is missing in its status.
func (r *JobRunReconciler) podsOf(ctx context.Context, run *v1alpha1.JobRun, child *batchv1.Job) ([]*runPod, error) {
	switch {
	case child == nil && run.Status.Child == nil:
		return nil, nil
	case child == nil:
		return r.pods.of(run, run.Status.Child.UID), nil
	}
	pods := r.pods.of(run, child.UID)
	ended := len(endedPods(pods))
	if endOf(child) == nil || ended == len(pods) && ended >= int(child.Status.Succeeded+child.Status.Failed) {
		return pods, nil
	}
	live := &corev1.PodList{}
	err := r.Live.List(ctx, live, client.InNamespace(run.Namespace), client.MatchingLabels{v1alpha1.LabelRun: string(run.UID)}, client.Limit(100))
	if err != nil {
		return nil, fmt.Errorf("list the pods of the run: %w", err)
	}
	pods = slices.DeleteFunc(pods, func(cached *runPod) bool {
		return slices.ContainsFunc(live.Items, func(pod corev1.Pod) bool { return pod.UID == cached.UID })
	})
	for i := range live.Items {
		if pod := podOfRun(&live.Items[i]); pod.child == child.UID {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}
