package leadership

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// TestBorrow: what hears by a borrowed cache hears until it is given back, the cache itself goes on, and the next
// term hears of everything again.
func TestBorrow(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(waitFor)
	c := apiServer.Client(t)
	own, err := cache.New(apiServer.Require(t), cache.Options{Scheme: grantrytesting.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	go func() { _ = own.Start(t.Context()) }()
	informer, err := own.GetInformer(t.Context(), &corev1.ConfigMap{})
	g.Expect(err).NotTo(HaveOccurred())
	var kept atomic.Int32
	_, err = informer.AddEventHandler(counting(&kept))
	g.Expect(err).NotTo(HaveOccurred())

	for _, term := range []string{"first", "second"} {
		borrowed := Borrow(own)
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- borrowed.Start(ctx) }()
		var heard [3]atomic.Int32
		hear := func() {
			lent, err := borrowed.GetInformer(t.Context(), &corev1.ConfigMap{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = lent.AddEventHandler(counting(&heard[0]))
			g.Expect(err).NotTo(HaveOccurred())
			lent, err = borrowed.GetInformerForKind(t.Context(), corev1.SchemeGroupVersion.WithKind("ConfigMap"))
			g.Expect(err).NotTo(HaveOccurred())
			_, err = lent.AddEventHandlerWithResyncPeriod(counting(&heard[1]), time.Hour)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = lent.AddEventHandlerWithOptions(counting(&heard[2]), toolscache.HandlerOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		}
		hear()
		g.Expect(c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: term}})).To(Succeed())
		for i := range heard {
			g.Eventually(func() bool { return heard[i].Load() == kept.Load() }).Should(BeTrue(), "the %s term, handler %d", term, i)
		}
		g.Eventually(kept.Load).Should(BeNumerically(">", 0))
		end()
		g.Expect(<-ended).To(Succeed())
		hear() // too late: a source of a controller may still be starting
		var before [3]int32
		g.Eventually(func() bool { // what is on its way to a handler still comes
			was := before
			for i := range heard {
				before[i] = heard[i].Load()
			}
			return was == before
		}, waitFor, time.Second).Should(BeTrue())
		all := kept.Load()
		g.Expect(c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "after-" + term}})).To(Succeed())
		g.Eventually(kept.Load).Should(BeNumerically(">", all), "the cache goes on")
		for i := range heard {
			g.Expect(heard[i].Load()).To(Equal(before[i]), "handler %d hears after the %s term", i, term)
		}
	}
}

// counting counts what there is, and what comes.
func counting(n *atomic.Int32) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{AddFunc: func(any) { n.Add(1) }}
}
