// Command grantry is Grantry's operator.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/controllers"
	"github.com/grantry/grantry/internal/freshness"
	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
)

var scheme = runtime.NewScheme()

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
}

func main() {
	nameBuild()
	if err := rootCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "grantry:", err)
		os.Exit(1)
	}
}

// rootCommand runs the manager unless a subcommand is named.
func rootCommand() *cobra.Command {
	manager := managerCommand()
	root := &cobra.Command{
		Use: "grantry", Short: "DC/OS-style permissions for jobs on Kubernetes",
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs, RunE: manager.RunE,
		Version: fmt.Sprintf("%s (revision %s, %s)", version.Version, version.Revision, version.GoVersion),
	}
	root.Flags().AddFlagSet(manager.Flags())
	root.AddCommand(manager)
	return root
}

// options are the flags of the manager.
type options struct {
	controllers.Settings
	mode           string
	metricsAddress string
	metricsSecure  bool
	probeAddress   string
	maxViewAge     time.Duration
	leaderElect    bool
	leaseNamespace string
	authorization  authorizationOptions
	admission      admissionOptions
	observability  observabilityOptions
	log            zap.Options
}

func managerCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use: "manager", Short: "Run the operator (the default)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.mode, "mode", string(controllers.ModePermissive), "Security mode: disabled, permissive or strict")
	f.StringVar(&o.DefaultInstance, "default-instance", "metronome", "Namespace of the default Metronome instance, whose app_ids have no namespace in them")
	f.DurationVar(&o.GroupsMaxAge, "owner-groups-max-age", 7*24*time.Hour, "How long the groups that a Job's owner was reported in count for launches; 0 is not at all")
	f.StringVar(&o.Children.DefaultImage, "default-image", "docker.io/library/busybox:latest", "Image of a run that names none; artifacts are fetched in it, too")
	f.StringVar(&o.Children.GPUResource, "gpu-resource", "nvidia.com/gpu", "Extended resource that gpus ask for")
	f.IntVar(&o.JobWorkers, "job-workers", 32, "Jobs that are reconciled at once")
	f.IntVar(&o.RunWorkers, "run-workers", 64, "Runs that are reconciled at once")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "Address of the metrics endpoint; 0 turns it off")
	f.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics over TLS to callers that may read /metrics; false serves plain HTTP to everyone")
	f.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz")
	f.DurationVar(&o.maxViewAge, "max-view-age", freshness.DefaultLimit, "How old what this replica knows of the API server may be before it allows nothing, at least 20s; 0 is no limit")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "Let one replica at a time write; needed with more than one")
	f.StringVar(&o.leaseNamespace, "leader-election-namespace", "", "Namespace of the leader's lease; unset is the operator's own")
	o.authorization.bind(f)
	o.admission.bind(f)
	o.observability.bind(f)
	gofs := flag.NewFlagSet("", flag.ContinueOnError)
	o.log.BindFlags(gofs)
	ctrl.RegisterFlags(gofs)
	f.AddGoFlagSet(gofs)
	return cmd
}

// run starts the operator, and returns when ctx ends or the operator can't go on.
func (o *options) run(ctx context.Context) error {
	o.setLog()
	ctrl.Log.Info("Starting Grantry", "version", version.Version, "revision", version.Revision, "go", version.GoVersion)
	// Towards the end of what the container may have, the garbage collector works harder, rather than that it is killed.
	if _, err := memlimit.Set(); err != nil {
		ctrl.Log.Info("The container's memory limit is not known, and not heeded", "error", err.Error())
	}
	var err error
	if o.Mode, err = controllers.ParseSecurityMode(o.mode); err != nil {
		return fmt.Errorf("--mode: %w", err)
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	if o.maxViewAge != 0 && o.maxViewAge < freshness.MinLimit {
		return fmt.Errorf("--max-view-age: at least %s, or 0", freshness.MinLimit)
	}
	view := freshness.New(o.maxViewAge, clock.RealClock{}, ctrl.Log.WithName("freshness"))
	config.QPS = -1 // the API server's priority and fairness limits us, not ourselves
	// What is packed is unpacked into memory that grows with it: an eighth more at a start with 40,000 Grants.
	config.DisableCompression = true
	mgr, err := ctrl.NewManager(config, o.managerOptions(view))
	if err != nil {
		return fmt.Errorf("create the manager: %w", err)
	}
	if err := index.Register(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	store := policystore.New(mgr.GetCache(), clock.RealClock{})
	store.View = view
	if err := mgr.Add(store); err != nil {
		return fmt.Errorf("add the policy store: %w", err)
	}
	observe, err := o.observability.start(ctx, store)
	if err != nil {
		return err
	}
	if err := metrics.Register(o.certificates()); err != nil {
		return fmt.Errorf("register the metrics of certificates: %w", err)
	}
	if err := addChecks(ctx, mgr, store); err != nil {
		return err
	}
	onTop, err := o.setUp(ctx, mgr, store, observe)
	if err != nil {
		return err
	}
	return errors.Join(serve(ctx, mgr, onTop...), observe.close(ctx))
}

// addChecks says when this replica is alive, and when it may be asked. Webhooks add checks of their own.
func addChecks(ctx context.Context, mgr ctrl.Manager, store *policystore.Store) error {
	return errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("policy", store.ReadyCheck),
		mgr.AddReadyzCheck("stopping", stopping(ctx)),
	)
}

// stopping is a readiness check: this replica was not told to end.
func stopping(ctx context.Context) healthz.Checker {
	return func(*http.Request) error {
		if ctx.Err() != nil {
			return errors.New("this replica was told to end")
		}
		return nil
	}
}

// setUp returns what answers and what writes.
func (o *options) setUp(ctx context.Context, mgr ctrl.Manager, store *policystore.Store, observe observers) ([]manager.Runnable, error) {
	leases, err := o.setUpReplicas(mgr, store)
	if err != nil {
		return nil, err
	}
	campaign, err := o.campaign(mgr, store, leases)
	if err != nil {
		return nil, err
	}
	authorization, err := o.setUpAuthorization(ctx, mgr, store, observe)
	if err != nil {
		return nil, err
	}
	admission, err := o.setUpAdmission(ctx, mgr, store, observe)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]manager.Runnable{campaign}, authorization, admission), nil
}
