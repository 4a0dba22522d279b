package schedule

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A second reading of the dialect, which shares nothing with the package: it asks of each day, hour and
// minute whether the words of the expression mean it, and walks through the minutes of years.

// refDay says whether a date matches day, month, weekday and year.
func refDay(fields []string, date time.Time) bool {
	year := "*"
	if len(fields) == 6 {
		year = fields[5]
	}
	return refAny(year, func(term string) bool { return refIn(term, date.Year(), 1970, 2099, nil) }) &&
		refAny(fields[3], func(term string) bool { return refIn(term, int(date.Month()), 1, 12, refMonths) }) &&
		refAny(fields[2], func(term string) bool { return refDayOfMonth(term, date) }) &&
		refAny(fields[4], func(term string) bool { return refDayOfWeek(term, date) })
}

var (
	refMonths = map[string]int{"JAN": 1, "FEB": 2, "MAR": 3, "APR": 4, "MAY": 5, "JUN": 6, "JUL": 7, "AUG": 8, "SEP": 9, "OCT": 10, "NOV": 11, "DEC": 12}
	refDays   = map[string]int{"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
)

func refAny(field string, matches func(term string) bool) bool {
	return slices.ContainsFunc(strings.Split(field, ","), matches)
}

// refIn says whether a value is meant by *, a, a-b, and those with a step.
func refIn(term string, value, low, high int, names map[string]int) bool {
	term, stepText, stepped := strings.Cut(term, "/")
	step := 1
	if stepped {
		step = refNumber(stepText, nil)
	}
	if term != "*" {
		first, last, ranged := strings.Cut(term, "-")
		low = refNumber(first, names)
		switch {
		case ranged:
			high = refNumber(last, names)
			if last == "SUN" {
				high = 7
			}
		case !stepped:
			high = low
		}
	}
	return value >= low && value <= high && (value-low)%step == 0
}

func refNumber(text string, names map[string]int) int {
	if n, ok := names[text]; ok {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func refDayOfMonth(term string, date time.Time) bool {
	last := time.Date(date.Year(), date.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	isWorkday := func(day int) bool {
		weekday := time.Date(date.Year(), date.Month(), day, 0, 0, 0, 0, time.UTC).Weekday()
		return weekday != time.Saturday && weekday != time.Sunday
	}
	switch {
	case term == "L":
		return date.Day() == last
	case term == "LW":
		day := last
		for !isWorkday(day) {
			day--
		}
		return date.Day() == day
	case strings.HasPrefix(term, "L-"):
		return date.Day() == last-refNumber(term[2:], nil)
	case strings.HasSuffix(term, "W"):
		wanted := refNumber(strings.TrimSuffix(term, "W"), nil)
		if wanted > last {
			return false
		}
		for _, away := range []int{0, -1, 1, -2, 2} { // the nearest, and within the month
			if day := wanted + away; day >= 1 && day <= last && isWorkday(day) {
				return date.Day() == day
			}
		}
		return false
	}
	return refIn(term, date.Day(), 1, 31, nil)
}

func refDayOfWeek(term string, date time.Time) bool {
	weekday := int(date.Weekday())
	if name, nth, ok := strings.Cut(term, "#"); ok {
		return refNumber(name, refDays)%7 == weekday && (date.Day()+6)/7 == refNumber(nth, nil)
	}
	if name, ok := strings.CutSuffix(term, "L"); ok {
		return refNumber(name, refDays)%7 == weekday && date.AddDate(0, 0, 7).Month() != date.Month()
	}
	return refIn(term, weekday, 0, 7, refDays) || (weekday == 0 && refIn(term, 7, 0, 7, refDays))
}

// refClock is what the clock of a zone shows at each minute of a span, as the count of minutes since 1970
// that a clock of UTC would show the same at.
type refClock struct {
	begin time.Time
	shown []int64
}

func readClock(zone *time.Location, begin, end time.Time) refClock {
	clock := refClock{begin: begin}
	for at := begin; at.Before(end); at = at.Add(time.Minute) {
		local := at.In(zone)
		shown := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)
		clock.shown = append(clock.shown, shown.Unix()/60)
	}
	return clock
}

// times are all times of an expression within the span, minute by minute.
func (clock refClock) times(expression string) []time.Time {
	fields := strings.Fields(expression)
	everyHour := true
	for hour := range 24 {
		everyHour = everyHour && refAny(fields[1], func(term string) bool { return refIn(term, hour, 0, 23, nil) })
	}
	days := map[int64]bool{}
	var hours [24]bool
	for h := range hours {
		hours[h] = refAny(fields[1], func(term string) bool { return refIn(term, h, 0, 23, nil) })
	}
	var minutes [60]bool
	for m := range minutes {
		minutes[m] = refAny(fields[0], func(term string) bool { return refIn(term, m, 0, 59, nil) })
	}
	matches := func(shown int64) bool {
		if !minutes[shown%60] || !hours[shown/60%24] {
			return false
		}
		day := shown / (24 * 60)
		match, known := days[day]
		if !known {
			match = refDay(fields, time.Unix(day*24*60*60, 0).UTC())
			days[day] = match
		}
		return match
	}
	due := make([]bool, len(clock.shown))
	latest := clock.shown[0] - 1
	for i, shown := range clock.shown {
		for left := latest + 1; left < shown; left++ { // left out: as if the clock had not changed
			if at := i - 1 + int(left-clock.shown[max(i-1, 0)]); matches(left) && at < len(due) {
				due[at] = true
			}
		}
		if matches(shown) && (shown > latest || everyHour) {
			due[i] = true
		}
		latest = max(latest, shown)
	}
	var times []time.Time
	for i, is := range due {
		if is {
			times = append(times, clock.begin.Add(time.Duration(i)*time.Minute))
		}
	}
	return times
}

// compareWithReference walks through the times of an expression by Next, and compares each with the
// reference.
func compareWithReference(t *testing.T, expression, timezone string, clock refClock) {
	t.Helper()
	parsed, err := Parse(expression, timezone)
	if err != nil {
		t.Errorf("%s in %s: %v", expression, timezone, err)
		return
	}
	end := clock.begin.Add(time.Duration(len(clock.shown)) * time.Minute)
	at := clock.begin.Add(-time.Second)
	for i, want := range append(clock.times(expression), end) {
		got := parsed.Next(at)
		if want.Equal(end) && (got.IsZero() || !got.Before(end)) {
			return
		}
		if !got.Equal(want) {
			t.Errorf("%s in %s: time %d is %s after %s, want %s", expression, timezone, i, got, at, want)
			return
		}
		at = got
	}
}
