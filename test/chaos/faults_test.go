//go:build e2e

package chaos

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/grantry/grantry/internal/freshness"
)

// Windows are how long a replica may go by what it had before a Grant went.
const (
	// soon is while every replica is in touch with the API server. It is milliseconds, but for a machine that stands
	// still for a while.
	soon = 15 * time.Second
	// atMost is --max-view-age, and a moment.
	atMost = freshness.MinLimit + 5*time.Second
)

// fault is something that breaks, and a row of the table.
type fault struct {
	name string
	// tells says what an operator who is woken by it sees.
	tells string
	// lasts is how long it is there, at least.
	lasts time.Duration
	// window is how long somebody whose Grant has just gone may still be answered by it.
	window time.Duration
	// long leaves it out of the short form.
	long bool
	// disk and clock say that etcd must have a disk, and the operators a clock, of their own.
	disk, clock bool
	// after is for how long after it schedules may still miss a time.
	after time.Duration
	// sign is what the alert looks at, where that shows while the fault lasts. It must be seen then.
	sign func(*testing.T, *site) bool
	// begin breaks something. What it returns mends that, and returns when it is mended.
	begin func(*testing.T, *site) (end func())
}

// faults are the rows of the table.
func faults() []fault {
	return []fault{
		{
			name: "SIGKILL of the leader", lasts: 2 * time.Second, window: soon, sign: nobodyLeads,
			tells: "`GrantryNoLeader`, if nobody else leads within 2 min",
			begin: func(t *testing.T, s *site) func() {
				t.Helper()
				s.aLeader(t).kill()
				return func() {}
			},
		},
		{
			name: "SIGKILL of all replicas, again and again", lasts: 8 * time.Second, window: soon,
			tells: "`GrantryDown`, if they stay away",
			begin: repeatedly(func(_ *testing.T, s *site) {
				for _, r := range s.replicas {
					r.kill()
				}
			}),
		},
		{
			name: "SIGKILL of the API server, again and again", lasts: 8 * time.Second, window: atMost,
			tells: "`GrantryDown`, or `GrantryViewTooOld` on every replica, if it stays away",
			begin: repeatedly(killComponent("kube-apiserver")),
		},
		{
			name: "SIGKILL of etcd, again and again", lasts: 8 * time.Second, window: atMost,
			tells: "`GrantryViewTooOld` on every replica and `GrantryNoLeader`, if it stays away",
			begin: repeatedly(killComponent("etcd")),
		},
		{
			name: "SIGKILL of the controller manager, again and again", lasts: 8 * time.Second, window: soon,
			tells: "no alert of Grantry's: runs say `Starting`",
			begin: repeatedly(killComponent("kube-controller-manager")),
		},
		{
			name: "the API server and the webhooks are cut off from each other, without a word", lasts: 15 * time.Second, window: soon, sign: webhookTimesOut,
			tells: "`GrantryUnreachable`",
			begin: func(_ *testing.T, s *site) func() {
				s.authorize.Cut()
				s.admit.Cut()
				return func() {
					s.authorize.Mend()
					s.admit.Mend()
				}
			},
		},
		{
			name: "the leader and the API server are cut off from each other, without a word", lasts: 2 * atMost, window: atMost, long: true, sign: viewTooOld,
			tells: "`GrantryReplicaDown`, or `GrantryViewTooOld` on one replica",
			begin: func(t *testing.T, s *site) func() {
				t.Helper()
				leader := s.aLeader(t)
				leader.toServer.Cut()
				return leader.toServer.Mend
			},
		},
		{
			name: "all replicas and the API server are cut off from each other, without a word", lasts: atMost + 5*time.Second, window: atMost, sign: viewTooOld,
			tells: "`GrantryDown`, or `GrantryViewTooOld` on every replica",
			begin: func(_ *testing.T, s *site) func() {
				for _, r := range s.replicas {
					r.toServer.Cut()
				}
				return func() {
					for _, r := range s.replicas {
						r.toServer.Mend()
					}
				}
			},
		},
		{
			name: "the API server is slow: 200 ms each way", lasts: 30 * time.Second, window: atMost, long: true,
			tells: "`GrantryLaunchesWaiting`, if more than 100 runs wait for 10 min",
			begin: func(_ *testing.T, s *site) func() {
				for _, r := range s.replicas {
					r.toServer.Slow(200 * time.Millisecond)
				}
				return func() {
					for _, r := range s.replicas {
						r.toServer.Mend()
					}
				}
			},
		},
		{
			name: "the admission webhooks' CA and certificate are made anew", window: soon,
			tells: "nothing is to be told; `GrantryCertificateExpires`, if it is not done",
			begin: func(t *testing.T, s *site) func() {
				t.Helper()
				return s.renewed(t, func(r *replica) string { return r.admit }, func() { s.forgetAuthority(t) })
			},
		},
		{
			name: "the authorization webhook's certificate files are replaced", window: soon,
			tells: "nothing is to be told; `GrantryCertificateExpires`, if it is not done",
			begin: func(t *testing.T, s *site) func() {
				t.Helper()
				return s.renewed(t, func(r *replica) string { return r.authorize }, func() { s.reissue(t) })
			},
		},
		{
			name: "etcd's disk is full", lasts: atMost + 5*time.Second, window: atMost, long: true, disk: true,
			tells: "`GrantryViewTooOld` and `GrantryNoLeader`",
			sign:  viewTooOld, begin: fillDisk,
		},
		{
			name: "the replicas' clocks go two hours ahead, and then back by four", lasts: 10 * time.Second, window: soon, long: true, clock: true, after: time.Minute,
			tells: "no alert of Grantry's, but the machines' own", begin: jumping,
		},
		{
			name: grants() + " Grants are created", window: atMost, long: true,
			tells: "nothing is to be told", begin: crowd,
		},
	}
}

// killEach is how often something is killed that is started again. The API server is ready again in between, mostly.
const killEach = 5 * time.Second

// repeatedly kills something at once, and again and again until the end.
func repeatedly(kill func(*testing.T, *site)) func(*testing.T, *site) func() {
	return func(t *testing.T, s *site) func() {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			for ctx.Err() == nil {
				kill(t, s)
				select {
				case <-ctx.Done():
				case <-time.After(killEach):
				}
			}
		})
		return func() {
			cancel()
			group.Wait()
		}
	}
}

// killComponent kills a process of the control plane. One that has just been killed may not be there.
func killComponent(name string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		t.Helper()
		if err := s.KillComponent(t.Context(), name); err != nil {
			t.Logf("kill %s: %v", name, err)
		}
	}
}
