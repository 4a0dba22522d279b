// Package load asks webhooks as the API server does, and keeps the times.
package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/internal/testing/world"
)

// Client sends SubjectAccessReviews to one webhook, over one HTTP/2 connection.
type Client struct {
	url  string
	http *http.Client
}

// NewClient returns a client that proves itself with the client certificate in a directory.
func NewClient(address, certDir string) (*Client, error) {
	config, err := tlsConfig(certDir)
	if err != nil {
		return nil, err
	}
	return &Client{
		url:  "https://" + address + "/authorize",
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: 30 * time.Second},
	}, nil
}

// Ask sends a question and returns the answer.
func (c *Client) Ask(ctx context.Context, question []byte) (*authorizationv1.SubjectAccessReview, error) {
	answer, err := c.send(ctx, question)
	if err != nil {
		return nil, err
	}
	review := &authorizationv1.SubjectAccessReview{}
	return review, json.Unmarshal(answer, review)
}

func (c *Client) send(ctx context.Context, question []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || response.ProtoMajor != 2) {
		err = fmt.Errorf("%s %s: %s", response.Proto, response.Status, answer)
	}
	return answer, err
}

// Run asks the questions in turn for a while, from as many goroutines as workers, and returns how long each answer
// took. It fails with the first error.
func (c *Client) Run(ctx context.Context, questions [][]byte, workers int, during time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, during, errOver)
	defer cancel()
	var next atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			var mine []time.Duration
			for context.Cause(ctx) == nil {
				question := questions[int(next.Add(1))%len(questions)]
				began := time.Now()
				_, err := c.send(context.WithoutCancel(ctx), question)
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					cancel()
					return
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	return all, failed
}

var errOver = errors.New("the time is over")

// Review is the question of a world in the API server's words.
func Review(q world.Question) *authorizationv1.SubjectAccessReview {
	a := &authorizationv1.ResourceAttributes{Namespace: q.Job.Namespace, Name: q.Job.Path, Group: "grantry.dev", Version: "v1alpha1", Resource: "jobs"}
	switch q.Action {
	case "read":
		a.Verb = "get"
	case "full":
		a.Verb = "*"
	case "run": // of a run that is named as its Job
		a.Verb, a.Resource = "create", "jobruns"
	default:
		a.Verb = q.Action
	}
	return &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: q.User, Groups: append(slices.Clone(q.Groups), "system:authenticated"), ResourceAttributes: a,
			Extra: map[string]authorizationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + q.User}},
		},
	}
}

// Quantile returns the time that a part of all is below, and sorts all.
func Quantile(all []time.Duration, part float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(part*float64(len(all))))]
}

// tlsConfig is that of a caller.
func tlsConfig(dir string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in ca.crt")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "localhost"}, nil
}
