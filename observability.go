package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/tracing"
	"github.com/grantry/grantry/internal/webhook/serving"
)

// flushTimeout is how long the operator's end waits for the readers of its log and of its traces.
const flushTimeout = 5 * time.Second

// observabilityOptions are the flags of what tells about decisions. Traces are configured by the
// environment: see internal/tracing.
type observabilityOptions struct{ decisions decisionlog.Options }

func (o *observabilityOptions) bind(f *pflag.FlagSet) {
	f.StringVar((*string)(&o.decisions.Level), "decision-log", string(decisionlog.None), "Decisions that are written to standard output as lines of JSON: none, denied or all")
	f.Float64Var(&o.decisions.Rate, "decision-log-sampling", 1, "Part of the decisions that are no refusals which --decision-log=all writes, from 0 to 1; refusals are never sampled")
	f.BoolVar(&o.decisions.Groups, "decision-log-groups", false, "Write the names of users' groups to the decision log, and not only how many there are")
}

// certificates are those that the operator serves with, and trusts.
func (o *options) certificates() metrics.Certificates {
	c := metrics.Certificates{Served: map[string]func() []byte{}, Trusted: map[string]func() []byte{}}
	if o.authorization.address != "" {
		file := func(name string) func() []byte {
			return func() []byte {
				text, _ := os.ReadFile(filepath.Join(o.authorization.certDir, name)) // the webhook says what is wrong with it
				return text
			}
		}
		c.Served["authorization"], c.Trusted["authorization_callers"] = file("tls.crt"), file("ca.crt")
	}
	if o.admission.address != "" {
		c.Served["admission"] = o.admission.certificates.Served
	}
	return c
}

// setLog makes all that this process says of itself lines of JSON, that of client-go's election, which has klog, and of
// controller-runtime's HTTP servers, which have the standard library's, included.
func (o *options) setLog() {
	log := zap.New(zap.UseFlagOptions(&o.log), zap.RawZapOpts(uberzap.WrapCore(newQuiet)))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	stdlog.SetFlags(0)
	stdlog.SetOutput(serving.Complaints(log.WithName("http")))
}

// pause is how long a line is not written again that anybody can bring about who reaches a port: by asking for the health
// ten times a second while the operator starts, or on purpose.
const pause = 10 * time.Second

// provoked are the messages of controller-runtime's of that kind.
var provoked = []string{
	"healthz check failed",                                                                                 // of /healthz and /readyz
	"Authentication failed",                                                                                // of /metrics
	"bad request", "unable to decode the request", "unable to process a request with unknown content type", // of admission
	"unable to read the body from the incoming request", "unable to read the body from the incoming request; limit reached",
}

// quiet drops the repetitions of what others provoke.
type quiet struct {
	zapcore.Core
	told map[string]*atomic.Int64 // when, by message, in nanoseconds since 1970
}

func newQuiet(core zapcore.Core) zapcore.Core {
	told := make(map[string]*atomic.Int64, len(provoked))
	for _, message := range provoked {
		told[message] = &atomic.Int64{}
	}
	return quiet{core, told}
}

// With is for zapcore.Core.
func (q quiet) With(fields []zapcore.Field) zapcore.Core { return quiet{q.Core.With(fields), q.told} }

// Check is for zapcore.Core.
func (q quiet) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if last := q.told[entry.Message]; last != nil {
		told, now := last.Load(), entry.Time.UnixNano()
		if now-told < int64(pause) || !last.CompareAndSwap(told, now) {
			return checked
		}
	}
	return q.Core.Check(entry, checked)
}

// observers tell about decisions.
type observers struct {
	log    *decisionlog.Log
	traces *tracing.Provider
}

// start turns on what the options and the environment ask for. Close must be called.
func (o *observabilityOptions) start(ctx context.Context, store *policystore.Store) (observers, error) {
	if err := o.decisions.Validate(); err != nil {
		return observers{}, fmt.Errorf("--decision-log: %w", err)
	}
	if err := errors.Join(metrics.RegisterBuild(), metrics.Register(store.Collector())); err != nil {
		return observers{}, fmt.Errorf("register the metrics of the build and of the policy: %w", err)
	}
	traces, err := tracing.New(ctx, ctrl.Log.WithName("tracing"))
	if err != nil {
		return observers{}, err
	}
	return observers{log: decisionlog.New(os.Stdout, o.decisions), traces: traces}, nil
}

// close writes what waits.
func (o observers) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	return errors.Join(o.log.Close(ctx), o.traces.Shutdown(ctx))
}
