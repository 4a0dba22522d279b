package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/tracing"
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
	if err := metrics.Register(store.Collector()); err != nil {
		return observers{}, fmt.Errorf("register the metrics of the policy: %w", err)
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
