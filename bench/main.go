// Program bench measures Grantry and says whether it is as fast as it must be.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/grantry/grantry/bench/internal/cluster"
	"github.com/grantry/grantry/bench/internal/decision"
	"github.com/grantry/grantry/bench/internal/report"
	"github.com/grantry/grantry/bench/internal/webhook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctrl.SetLogger(logr.Discard()) // what the product logs is not the result
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measurement is one that can be asked for.
type measurement struct {
	name, short string
	run         func(ctx context.Context, o *options) ([]report.Section, error)
}

var measurements = []measurement{
	{name: "decision", short: "Compare the decision with that of other engines", run: func(ctx context.Context, o *options) ([]report.Section, error) {
		s, err := decision.Compare(ctx, o.sizes, os.Stderr)
		return []report.Section{s}, err
	}},
	{name: "webhook", short: "Compare the webhook with a server that only decodes and answers", run: func(ctx context.Context, o *options) ([]report.Section, error) {
		s, err := webhook.Compare(ctx, webhook.Options{Grants: o.grants, Rounds: o.rounds, Round: o.round, Log: os.Stderr})
		return []report.Section{s}, err
	}},
	{name: "cluster", short: "Measure through an API server: latency, time until a grant counts, and a long run", run: func(ctx context.Context, o *options) ([]report.Section, error) {
		return cluster.Measure(ctx, cluster.Options{Grants: o.grants, Requests: o.requests, Trials: o.trials, Soak: o.soak, Log: os.Stderr})
	}},
}

// options are how much is measured.
type options struct {
	page     string
	sizes    []int
	grants   int
	rounds   int
	round    time.Duration
	requests int
	trials   int
	soak     time.Duration
}

func rootCommand() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use: "bench", Short: "Measure Grantry: everything, or what is named", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.measure(cmd.Context(), measurements) },
	}
	f := root.PersistentFlags()
	f.StringVar(&o.page, "write", "", "Page whose tables are replaced by what is measured; unset writes none")
	f.IntSliceVar(&o.sizes, "sizes", []int{1_000, 10_000, 100_000}, "Grants that the engines are compared with")
	f.IntVar(&o.grants, "grants", 100_000, "Grants that the webhook holds")
	f.IntVar(&o.rounds, "rounds", 100, "Rounds of each of two webhooks")
	f.DurationVar(&o.round, "round", 250*time.Millisecond, "Time of such a round")
	f.IntVar(&o.requests, "requests", 3_000, "Requests of each kind through the API server")
	f.IntVar(&o.trials, "trials", 500, "Grants that are created, and deleted, to see when they count")
	f.DurationVar(&o.soak, "soak", 5*time.Minute, "Time of the long run")
	for _, m := range measurements {
		root.AddCommand(&cobra.Command{
			Use: m.name, Short: m.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return o.measure(cmd.Context(), []measurement{m}) },
		})
	}
	root.AddCommand(serveCommand())
	return root
}

// measure runs measurements one after the other, shows the bars, and writes the page if it is to.
func (o *options) measure(ctx context.Context, wanted []measurement) error {
	var all []report.Section
	for _, m := range wanted {
		machine := report.ThisMachine()
		_, _ = fmt.Fprintf(os.Stderr, "== %s\n", m.short)
		sections, err := m.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if o.page != "" {
			if err := report.Write(o.page, machine, sections); err != nil {
				return err
			}
		}
		for _, s := range sections {
			fmt.Printf("\n%s\n%s", machine, s.Body)
		}
		all = append(all, sections...)
	}
	return report.Print(os.Stdout, all)
}

// serveCommand is how the program starts itself again as a server to measure.
func serveCommand() *cobra.Command {
	var s webhook.Settings
	var kind string
	cmd := &cobra.Command{
		Use: "serve", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.Kind = webhook.Kind(kind)
			return webhook.Serve(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "")
	cmd.Flags().StringVar(&s.Address, "address", "", "")
	cmd.Flags().StringVar(&s.CertDir, "cert-dir", "", "")
	cmd.Flags().IntVar(&s.Grants, "grants", 0, "")
	return cmd
}
