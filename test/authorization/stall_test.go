package authorization

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/freshness"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/test/harness"
)

// TestStall: the line between the operator and the API server is cut without a word, and a Grant is deleted behind it.
// Within the limit the webhook allows nothing any more, and says so; nothing of the old policy is allowed again once the
// line is back, and what is granted is.
func TestStall(t *testing.T) {
	w := &world{site: newSite(t, "strict"), mode: "strict", acls: map[string]string{}}
	g := NewWithT(t)
	operator := w.user(t, harness.OperatorUser, "system:serviceaccounts", "system:serviceaccounts:grantry-system")
	server := strings.TrimPrefix(operator.url(""), "https://")
	toServer, err := harness.OpenLine("127.0.0.1:0", server)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(toServer.Close)
	kubeconfig, err := operator.KubeConfig()
	g.Expect(err).NotTo(HaveOccurred())
	through := strings.ReplaceAll(string(kubeconfig), server, toServer.Address())
	g.Expect(through).To(ContainSubstring(toServer.Address()))
	g.Expect(os.WriteFile(filepath.Join(w.dir, "operator.kubeconfig"), []byte(through), 0o600)).To(Succeed())

	o := w.operate(t, w.mode, w.address, "--max-view-age", freshness.MinLimit.String())
	stays, goes := w.holder(t, "stays", readJobs), w.holder(t, "goes", readJobs)
	w.create(t, job(instance, "dev.batch.job1"))
	const text = "get jobs dev.batch.job1"
	w.eventually(t, stays, text)
	w.eventually(t, goes, text)

	cut := time.Now()
	toServer.Cut()
	g.Expect(w.admin.DeleteAllOf(t.Context(), &v1alpha1.Grant{})).To(Succeed())
	w.hold(t, "stays", readJobs) // again: it is not known behind the line that it was gone
	closed := func(u *user) string {
		code, message := w.do(t, u, parse(text))
		if code == http.StatusOK {
			return "allowed"
		}
		return message
	}
	deadline := 4 * freshness.MinLimit
	g.Eventually(closed).WithArguments(goes).WithTimeout(deadline).Should(ContainSubstring(policystore.ErrTooOld.Error()), "the old Grant counts no more")
	t.Logf("closed %s after the cut", time.Since(cut))
	g.Expect(closed(stays)).To(ContainSubstring(policystore.ErrTooOld.Error()), "nor does anything else")
	g.Expect(o.IsReady()).To(BeFalse())
	families, err := o.Metrics()
	g.Expect(err).NotTo(HaveOccurred())
	oldest := 0.0
	for _, m := range families["grantry_view_age_seconds"].GetMetric() {
		oldest = max(oldest, m.GetGauge().GetValue())
	}
	g.Expect(oldest).To(BeNumerically(">", freshness.MinLimit.Seconds()))
	g.Expect(families["grantry_policy_synced"].GetMetric()[0].GetGauge().GetValue()).To(BeZero())

	back := time.Now()
	toServer.Mend()
	for end := time.Now().Add(deadline); closed(stays) != "allowed"; {
		g.Expect(closed(goes)).NotTo(Equal("allowed"), "what was deleted is allowed again on the way back")
		g.Expect(time.Now().Before(end)).To(BeTrue(), "what is granted is not allowed %s after the line is back: %s", deadline, closed(stays))
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("open again %s after the line was back", time.Since(back))
	g.Expect(closed(goes)).To(ContainSubstring(`may not "read" on jobs dev.batch.job1`))
	g.Eventually(o.IsReady).WithTimeout(waitFor).Should(BeTrue())
}
