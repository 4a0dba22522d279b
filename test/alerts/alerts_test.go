package alerts

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"
)

// certificate is the series of a certificate that ends so long after what is played.
func certificate(left time.Duration) []string {
	end := begin.Add(played + left).Unix()
	return []string{`grantry_certificate_expiry_timestamp_seconds{certificate="authorization",instance="a"} ` + strconv.FormatInt(end, 10) + "x400"}
}

// counted is a counter that grew by so much with each scrape until the last half hour, and by so much then.
func counted(series string, before, now string) []string {
	return []string{series + " 0+" + before + "x300 " + before + "000+" + now + "x100"}
}

// cases are each alert's: series with which it fires, and series of the same kind with which it is silent.
var cases = map[string][]struct {
	what   string
	series []string
	fires  bool
}{
	"GrantryDown": {
		{what: "nothing is scraped", series: []string{"up 1x400"}, fires: true},
		{what: "a replica that is not synced is there", series: []string{"grantry_policy_synced 0x400"}},
		{what: "a restart that has begun a minute ago, after the 5 for which a series is remembered", series: []string{"grantry_policy_synced 1x348"}},
	},
	"GrantryReplicaDown": {
		{what: "one of two", series: []string{`up{job="grantry-metrics",instance="a"} 1x400`, `up{job="grantry-metrics",instance="b"} 1x300 0x100`}, fires: true},
		{what: "both are up", series: []string{`up{job="grantry-metrics",instance="a"} 1x400`}},
		{what: "something else is down", series: []string{`up{job="other",instance="a"} 0x400`}},
		{what: "a rolling update", series: []string{`up{job="grantry-metrics",instance="b"} 1x356 0x40`}},
	},
	"GrantryNoLeader": {
		{what: "two that follow", series: []string{`leader_election_master_status{name="grantry.dev",instance="a"} 0x400`, `leader_election_master_status{name="grantry.dev",instance="b"} 0x400`}, fires: true},
		{what: "one leads", series: []string{`leader_election_master_status{name="grantry.dev",instance="a"} 0x400`, `leader_election_master_status{name="grantry.dev",instance="b"} 1x400`}},
		{what: "a change of leader", series: []string{`leader_election_master_status{name="grantry.dev",instance="a"} 1x357 0x40`}},
		{what: "no election, for a single replica", series: []string{`grantry_policy_synced 1x400`}},
	},
	"GrantryNotSynced": {
		{what: "one of two", series: []string{`grantry_policy_synced{instance="a"} 1x400`, `grantry_policy_synced{instance="b"} 0x400`}, fires: true},
		{what: "a start", series: []string{`grantry_policy_synced{instance="a"} 1x357 0x40`}},
	},
	"GrantryViewTooOld": {
		{what: "the watch of Grants hangs", series: []string{
			`grantry_view_age_seconds{kind="grant",instance="a"} 13x340 30+30x60`, `grantry_view_age_seconds{kind="acl",instance="a"} 13x400`, `grantry_view_age_limit_seconds{instance="a"} 60x400`,
		}, fires: true},
		{what: "as old as a healthy view gets", series: []string{`grantry_view_age_seconds{kind="grant",instance="a"} 28x400`, `grantry_view_age_limit_seconds{instance="a"} 60x400`}},
		{what: "for a moment", series: []string{`grantry_view_age_seconds{kind="grant",instance="a"} 13x359 50x40`, `grantry_view_age_limit_seconds{instance="a"} 60x400`}},
		{what: "a higher limit", series: []string{`grantry_view_age_seconds{kind="grant",instance="a"} 60x400`, `grantry_view_age_limit_seconds{instance="a"} 600x400`}},
		{what: "no limit", series: []string{`grantry_view_age_seconds{kind="grant",instance="a"} 600x400`, `grantry_view_age_limit_seconds{instance="a"} 0x400`}},
	},
	"GrantryReplicasDiffer": {
		{what: "one has fewer Grants", series: []string{`grantry_policy_objects{kind="grant",instance="a"} 7x400`, `grantry_policy_objects{kind="grant",instance="b"} 6x400`}, fires: true},
		{what: "they agree, kind by kind", series: []string{
			`grantry_policy_objects{kind="grant",instance="a"} 7x400`, `grantry_policy_objects{kind="grant",instance="b"} 7x400`, `grantry_policy_objects{kind="acl",instance="a"} 2x400`,
		}},
		{what: "Grants are loaded: for minutes each scrape sees another number", series: []string{`grantry_policy_objects{kind="grant",instance="a"} 7x350 8+1x50`, `grantry_policy_objects{kind="grant",instance="b"} 7x350 9+1x50`}},
	},
	"GrantryRefusalsSurge": {
		{what: "from 1 in 30 s to 300 in 30 s", series: counted(`grantry_authorization_decisions_total{verdict="deny",kind="jobs",family="jobs"}`, "1", "300"), fires: true},
		{what: "where nothing was refused before", series: []string{`grantry_authorization_decisions_total{verdict="no_opinion",kind="jobs",family="jobs"} _x300 0+300x100`}, fires: true},
		{what: "as many as an hour ago", series: counted(`grantry_authorization_decisions_total{verdict="deny",kind="jobs",family="jobs"}`, "300", "300")},
		{what: "from none to a few", series: counted(`grantry_authorization_decisions_total{verdict="deny",kind="jobs",family="jobs"}`, "0", "3")},
		{what: "a burst of a few minutes", series: []string{`grantry_authorization_decisions_total{verdict="deny",kind="jobs",family="jobs"} 0+1x352 352+3000x50`}},
		{what: "no opinion on what is not Grantry's", series: counted(`grantry_authorization_decisions_total{verdict="no_opinion",kind="other",family="none"}`, "1", "300")},
		{what: "more is allowed", series: counted(`grantry_authorization_decisions_total{verdict="allow",kind="jobs",family="jobs"}`, "1", "300")},
	},
	"GrantryLaunchesFail": {
		{what: "the API server can't be asked", series: counted(`grantry_launch_checks_total{reason="Error"}`, "0", "2"), fires: true},
		{what: "somebody's webhook refuses the batch/v1 Jobs", series: counted(`controller_runtime_reconcile_errors_total{controller="jobrun"}`, "0", "3"), fires: true},
		{what: "another controller fails", series: counted(`controller_runtime_reconcile_errors_total{controller="grant"}`, "0", "3")},
		{what: "launches are refused and allowed", series: append(counted(`grantry_launch_checks_total{reason="NotGranted"}`, "1", "2"), counted(`grantry_launch_checks_total{reason="Granted"}`, "1", "2")...)},
		{what: "an error long ago", series: []string{`grantry_launch_checks_total{reason="Error"} 0x100 5x300`}},
	},
	"GrantryLaunchesWaiting": {
		{what: "the queue is long", series: []string{`workqueue_depth{controller="jobrun",name="jobrun",priority="0"} 90x400`, `workqueue_depth{controller="jobrun",name="jobrun",priority="-100"} 20x400`}, fires: true},
		{what: "a burst", series: []string{`workqueue_depth{controller="jobrun"} 0x350 500x50`}},
		{what: "always some", series: []string{`workqueue_depth{controller="jobrun"} 50x400`}},
		{what: "another queue", series: []string{`workqueue_depth{controller="grant"} 5000x400`}},
	},
	"GrantryAdmissionFails": {
		{what: "RBAC can't be asked", series: counted(`grantry_admission_decisions_total{resource="jobs",operation="CREATE",verdict="failed"}`, "0", "1"), fires: true},
		{what: "refusals", series: counted(`grantry_admission_decisions_total{resource="jobs",operation="CREATE",verdict="refused"}`, "1", "100")},
	},
	"GrantryAuthorizationSlow": {
		{what: "2 in 100 take more than half a second", series: []string{
			`grantry_authorization_duration_seconds_bucket{verdict="allow",le="0.5"} 0+98x400`, `grantry_authorization_duration_seconds_bucket{verdict="allow",le="1"} 0+100x400`, `grantry_authorization_duration_seconds_bucket{verdict="allow",le="+Inf"} 0+100x400`,
		}, fires: true},
		{what: "1 in 200 does", series: []string{
			`grantry_authorization_duration_seconds_bucket{verdict="allow",le="0.5"} 0+199x400`, `grantry_authorization_duration_seconds_bucket{verdict="allow",le="1"} 0+200x400`, `grantry_authorization_duration_seconds_bucket{verdict="allow",le="+Inf"} 0+200x400`,
		}},
		{what: "nobody asks", series: []string{`grantry_authorization_duration_seconds_bucket{verdict="allow",le="+Inf"} 0x400`}},
	},
	"GrantryCertificateExpires": {
		{what: "a week is left", series: certificate(7 * 24 * time.Hour), fires: true},
		{what: "it has ended", series: certificate(-time.Hour), fires: true},
		{what: "a month is left", series: certificate(30 * 24 * time.Hour)},
	},
	"GrantryPanics": {
		{what: "in an authorization request", series: []string{`grantry_authorization_panics_total 0x350 1x100`}, fires: true},
		{what: "in an admission request", series: []string{`grantry_admission_panics_total 0x350 1x100`}, fires: true},
		{what: "in a reconcile", series: []string{`controller_runtime_reconcile_panics_total{controller="grant"} 0x350 1x100`}, fires: true},
		{what: "of another program", series: []string{`controller_runtime_reconcile_panics_total{controller="something"} 0x350 1x100`}},
		{what: "long ago", series: []string{`grantry_authorization_panics_total 0x100 1x300`}},
	},
	"GrantryPolicyBroken": {
		{what: "a Grant with a part that can't be served", series: []string{`grantry_policy_invalid_objects{kind="grant"} 1x400`}, fires: true},
		{what: "an ACL that is missing", series: []string{`grantry_policy_missing_acls 1x400`}, fires: true},
		{what: "a Grant that comes before its ACL", series: []string{`grantry_policy_missing_acls 0x300 1x100`, `grantry_policy_invalid_objects{kind="grant"} 0x400`}},
	},
	"GrantryUnreachable": {
		{what: "questions of authorization time out", series: counted(`apiserver_authorization_webhook_evaluations_total{name="grantry",result="timeout"}`, "0", "5"), fires: true},
		{what: "admission can't be called", series: counted(`apiserver_admission_webhook_rejection_count{name="spec.validate.grantry.dev",error_type="calling_webhook_error"}`, "0", "5"), fires: true},
		{what: "all is answered", series: counted(`apiserver_authorization_webhook_evaluations_total{name="grantry",result="success"}`, "5", "500")},
		{what: "somebody gave up waiting", series: counted(`apiserver_authorization_webhook_evaluations_total{name="grantry",result="canceled"}`, "0", "5")},
		{what: "somebody else's webhook", series: counted(`apiserver_admission_webhook_rejection_count{name="validate.example.com",error_type="calling_webhook_error"}`, "0", "5")},
		{what: "admission refuses", series: counted(`apiserver_admission_webhook_rejection_count{name="spec.validate.grantry.dev",error_type="no_error"}`, "0", "5")},
	},
	"GrantryDecisionLogGaps": {
		{what: "the reader is too slow", series: counted(`grantry_decision_log_lines_total{result="dropped"}`, "0", "5"), fires: true},
		{what: "all is written", series: counted(`grantry_decision_log_lines_total{result="written"}`, "5", "500")},
	},
}

// TestAlerts: each fires with the fault that it is for, and each is silent in a case that is near it.
func TestAlerts(t *testing.T) {
	t.Parallel()
	rules := shipped(t)
	if want, got := slices.Sorted(maps.Keys(rules)), slices.Sorted(maps.Keys(cases)); !slices.Equal(want, got) {
		t.Fatalf("alerts %q\ncases  %q", want, got)
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fired, silent := false, false
			for _, tc := range cases[name] {
				if got := record(t, tc.series...).fires(t, rule); got != tc.fires {
					t.Errorf("%s: fires %v, want %v", tc.what, got, tc.fires)
				}
				fired, silent = fired || tc.fires, silent || !tc.fires
			}
			if !fired || !silent {
				t.Error("there is no case in which it fires, or none in which it is silent")
			}
		})
	}
}
