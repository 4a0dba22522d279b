package schedule

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // a machine without time zones must read a schedule as every other does

	"github.com/netresearch/go-cron"
)

// Cron is a cron expression in a time zone.
//
// An expression speaks of what a clock on the wall of that zone shows. Such a clock leaves times out and
// shows times twice, where the zone changes its offset. Two rules say what follows, those of RFC 5545
// (section 3.3.5) with one exception:
//
//   - A time that is left out comes as if the clock had not changed yet: 02:30 comes at the instant that the
//     changed clock calls 03:30. Two times that fall on one instant are one.
//   - A time that is shown twice comes the first time; but if every hour matches, it comes both times, since
//     then the schedule means every hour that passes.
type Cron struct {
	wall      *cron.SpecSchedule
	zone      *time.Location
	everyHour bool
}

// allHours are the bits of an hour field that every hour matches.
const allHours = 1<<24 - 1

// Parse reads an expression and an IANA time zone; an unset zone is UTC.
func Parse(expression, timezone string) (*Cron, error) {
	wall, err := parseExpression(expression)
	if err != nil {
		return nil, err
	}
	zone, err := loadZone(timezone)
	if err != nil {
		return nil, err
	}
	return &Cron{wall: wall, zone: zone, everyHour: wall.Hour&allHours == allHours}, nil
}

// loadZone finds an IANA time zone.
func loadZone(name string) (*time.Location, error) {
	if name == "Local" { // the operator's own: it means something else on every machine
		return nil, errors.New(`"Local" is not an IANA time zone`)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not an IANA time zone, such as Europe/Berlin", name)
	}
	return zone, nil
}

// widestChange is more than any two offsets of a zone differ by.
const widestChange = 48 * time.Hour

// Next is the first time of the schedule after an instant, or zero if there is none within 130 years. The
// search is bounded: it takes a few steps for each year at the most.
func (c *Cron) Next(after time.Time) time.Time {
	from := after.Truncate(time.Second).Add(time.Second)
	limit := from.AddDate(searchYears, 0, 0)
	for from.Before(limit) {
		local := from.In(c.zone)
		_, end := local.ZoneBounds()
		next := c.nextBy(local)
		if end.IsZero() || (!next.IsZero() && next.Before(end)) {
			return next
		}
		// Other offsets hold from then on. Whatever they are, nothing comes long before what comes by this
		// one, from the times on that they may show again.
		_, offset := local.Zone()
		nearest := c.shownAt(from.Add(-widestChange), offset)
		if nearest.IsZero() {
			return nearest
		}
		from = later(end, nearest.Add(-widestChange))
	}
	return time.Time{}
}

// nextBy is the first time at or after an instant, as if the offset of that instant held for ever.
func (c *Cron) nextBy(from time.Time) time.Time {
	_, offset := from.Zone()
	begin, _ := from.ZoneBounds()
	if begin.IsZero() {
		return c.shownAt(from, offset)
	}
	_, before := begin.Add(-time.Second).In(c.zone).Zone()
	change := time.Duration(offset-before) * time.Second
	if change < 0 && !c.everyHour { // until then the clock shows again what it has shown
		from = later(from, begin.Add(-change))
	}
	next := c.shownAt(from, offset)
	if change > 0 && from.Before(begin.Add(change)) { // some times were left out: they come by the offset before
		moved := c.shownAt(from, before)
		if moved.Before(begin.Add(change)) && !moved.IsZero() && (next.IsZero() || moved.Before(next)) {
			return moved
		}
	}
	return next
}

// shownAt is the first instant, not before from, at which a clock with an offset to UTC in seconds shows a
// time of the schedule; zero if there is none.
func (c *Cron) shownAt(from time.Time, offset int) time.Time {
	shift := time.Duration(offset) * time.Second
	begin := from.UTC().Add(shift)
	if minute := begin.Truncate(time.Minute); minute.Before(begin) {
		begin = minute.Add(time.Minute) // the library would try each second until then
	}
	shown := c.wall.Next(begin.Add(-time.Second))
	if shown.IsZero() {
		return shown
	}
	return shown.Add(-shift).UTC()
}

// Latest is the last time of the schedule after one instant and not after another, or zero. It takes about
// twice as many steps as the span in seconds has binary digits, however many times lie within it.
func (c *Cron) Latest(after, until time.Time) time.Time {
	found := c.Next(after)
	if found.IsZero() || found.After(until) {
		return time.Time{}
	}
	for none := until; ; {
		next := c.Next(found)
		if next.IsZero() || next.After(until) {
			return found
		}
		found = next
		middle := found.Add(none.Sub(found) / 2)
		if next = c.Next(middle); next.IsZero() || next.After(until) {
			none = middle
		} else {
			found = next
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
