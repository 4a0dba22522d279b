package schedule

import (
	"fmt"
	"time"

	"github.com/netresearch/go-cron"
)

// everMatches says whether there is a day, within the years that an expression may name, that it matches.
// Which day of the week a date falls on repeats every 28 years between 1970 and 2099.
func everMatches(spec *cron.SpecSchedule) bool {
	begin := time.Date(firstYear, time.January, 1, 0, 0, 0, 0, time.UTC)
	return !spec.Next(begin.Add(-time.Second)).IsZero()
}

// neverMatches is the reason why an expression matches no day. It leaves out one field after the other
// until a day is found: the field that was left out last is the one that can't be met.
func neverMatches(written, translated []string) error {
	without := append([]string(nil), translated...)
	reason := fmt.Errorf("no month of %q has a day %q", written[monthField], written[dayField])
	for _, field := range []struct {
		position int
		reason   func() error
	}{
		{yearField, func() error {
			return fmt.Errorf("no such day comes in the years %q", written[yearField])
		}},
		{weekdayField, func() error {
			return fmt.Errorf("no day %q of month %q is a day of week %q: a day must match both", written[dayField], written[monthField], written[weekdayField])
		}},
	} {
		if without[field.position] == "*" {
			continue
		}
		without[field.position] = "*"
		if spec, err := evaluated(without); err == nil && everMatches(spec) {
			reason = field.reason()
			break
		}
	}
	return fmt.Errorf("it never comes: %w", reason)
}
