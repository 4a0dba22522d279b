package schedule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// expressions of every form, those that Metronome's own tests use among them.
var expressions = []string{
	"* * * * *", "*/7 * * * *", "30 * * * *", "45 */1 * * *", "15 0-23 * * *",
	"30 2 * * *", "*/15 2 * * *", "0 */2 * * *", "30 1,2,3 * * *", "*/20 0-4 * * *", "0 0 * * *", "59 23 * * *", "55 23 * * *",
	"0 9 1-7 * 1", "0 9 1-7 * 6-7", "0 9 8-14 * 1-5", "0 9 22-28 * 6-7", "0 9 * * MON-FRI", "0 9 * * FRI-SUN", "0 9 * * 0", "0 9 * * 7",
	"0 9 L * *", "0 9 15W * *", "0 9 1W * *", "0 9 31W * *", "0 9 LW * *", "0 9 L-3 * *", "0 9 1,15W,L * *",
	"0 9 * * 5#3", "0 9 * * 5L", "0 9 * * SUN#1,WEDL", "0 9 * * 7#5", "0 9 L * 5", "0 9 13 * 5",
	"0 0 31 2-3 *", "0 0 29 2 *", "0 0 20-31 2 *", "0 0 1 JAN,JUL *", "10-50/20 8-18/5 */10 3-11/4 1-5/2",
	"0 12 * * * 2024", "30 2 * 3,10,11 SUN 2023-2025", "5/20 6 10/7 * *",
}

// zones with changes of every kind: an hour in March and October, at midnight, half an hour, in the southern
// winter, four times a year, and a day that was left out.
var zones = map[string]struct{ begin, end string }{
	"UTC":                 {"2023-06-01", "2025-06-01"},
	"Europe/Rome":         {"2019-01-01", "2021-01-01"},
	"America/New_York":    {"2023-01-01", "2026-01-01"},
	"America/Sao_Paulo":   {"2017-06-01", "2019-06-01"},
	"Australia/Lord_Howe": {"2023-01-01", "2024-12-01"},
	"Africa/Casablanca":   {"2023-01-01", "2024-08-01"},
	"Asia/Kathmandu":      {"2024-01-01", "2024-06-01"},
	"Pacific/Apia":        {"2011-03-01", "2012-06-01"},
}

func TestNext_agreesWithLookingAtEveryMinute(t *testing.T) {
	t.Parallel()
	for timezone, span := range zones {
		t.Run(timezone, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(timezone)
			if err != nil {
				t.Fatal(err)
			}
			clock := readClock(zone, day(t, span.begin), day(t, span.end))
			random := rand.New(rand.NewPCG(1, uint64(len(timezone))))
			for _, expression := range expressions {
				compareWithReference(t, expression, timezone, clock)
			}
			for range 8 {
				if expression := randomExpression(random); isPossible(expression) {
					compareWithReference(t, expression, timezone, clock)
				}
			}
		})
	}
}

func day(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// isPossible says whether an expression is accepted: a random day may never come.
func isPossible(expression string) bool {
	_, err := Parse(expression, "")
	return err == nil || !strings.Contains(err.Error(), "it never comes")
}

// randomExpression makes an expression of the forms that the dialect has.
func randomExpression(random *rand.Rand) string {
	value := func(low, high int) int { return low + random.IntN(high-low+1) }
	term := func(low, high int) string {
		switch random.IntN(5) {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", value(1, high-low))
		case 2:
			a, b := value(low, high), value(low, high)
			return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		case 3:
			return fmt.Sprintf("%d/%d", low, value(1, high-low))
		default:
			return fmt.Sprint(value(low, high))
		}
	}
	field := func(low, high int, special ...func() string) string {
		terms := make([]string, value(1, 3))
		for i := range terms {
			terms[i] = term(low, high)
			if len(special) > 0 && random.IntN(3) == 0 {
				terms[i] = special[random.IntN(len(special))]()
			}
		}
		return strings.Join(terms, ",")
	}
	month := field(1, 12)
	if random.IntN(2) == 0 {
		month = "*"
	}
	return strings.Join([]string{
		field(0, 59), field(0, 23),
		field(1, 31, func() string { return "L" }, func() string { return "LW" },
			func() string { return fmt.Sprintf("%dW", value(1, 31)) }, func() string { return fmt.Sprintf("L-%d", value(1, 30)) }),
		month,
		field(0, 7, func() string { return fmt.Sprintf("%dL", value(0, 7)) }, func() string { return fmt.Sprintf("%d#%d", value(0, 7), value(1, 5)) }),
	}, " ")
}

// The times that Metronome's documentation and tests state, all after the same moment.
func TestNext_metronomesTable(t *testing.T) {
	t.Parallel()
	after := time.Date(2017, time.October, 2, 10, 0, 0, 0, time.UTC) // a Monday
	for expression, want := range map[string]string{
		"0 9 1-7 * 1":      "2017-11-06T09:00:00Z",
		"0 9 1-7 * 6-7":    "2017-10-07T09:00:00Z",
		"0 9 8-14 * 1-5":   "2017-10-09T09:00:00Z",
		"0 9 22-28 * 6-7":  "2017-10-22T09:00:00Z",
		"0 0 L * *":        "2017-10-31T00:00:00Z",
		"0 0 15W * *":      "2017-10-16T00:00:00Z",
		"0 0 LW * *":       "2017-10-31T00:00:00Z",
		"0 0 L-3 * *":      "2017-10-28T00:00:00Z",
		"0 0 * * 5#3":      "2017-10-20T00:00:00Z",
		"0 0 * * 5L":       "2017-10-27T00:00:00Z",
		"0 0 1 1 * 2019":   "2019-01-01T00:00:00Z",
		"0 0 1 1 * 2020/3": "2020-01-01T00:00:00Z",
		"0 0 29 2 *":       "2020-02-29T00:00:00Z",
		"0 0 20-31 2 *":    "2018-02-20T00:00:00Z",
		"0 0 31 2-3 *":     "2018-03-31T00:00:00Z", // Metronome refuses it by mistake
		"0 0 29 2 1":       "2044-02-29T00:00:00Z",
		"0 0 31 12 * 2099": "2099-12-31T00:00:00Z",
		"* * * * *":        "2017-10-02T10:01:00Z",
		"*/1 * * * *":      "2017-10-02T10:01:00Z",
		"0 0 * * 0":        "2017-10-08T00:00:00Z",
		"0 0 * * 7":        "2017-10-08T00:00:00Z",
		"0 0 1 1 * 2016":   "0001-01-01T00:00:00Z", // accepted, and over
	} {
		parsed, err := Parse(expression, "")
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := parsed.Next(after).Format(time.RFC3339); got != want {
			t.Errorf("%s comes at %s, want %s", expression, got, want)
		}
	}
}

// What docs/spec/job.md says about clocks that change.
func TestNext_whenTheClockChanges(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		expression, zone, after string
		want                    []string
	}{
		"a time that is left out comes by the offset before": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		},
		"two that fall on one instant are one": {
			"30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-30T01:30:00Z"},
		},
		"each of several that are left out comes": {
			"*/30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"},
		},
		"a time that is shown twice comes the first time": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		"every hour is every hour that passes": {
			"30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z",
			[]string{"2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"},
		},
		"midnight that is left out": {
			"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z",
			[]string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		},
		"the time that Metronome once got wrong": {
			"55 23 * * *", "Europe/Rome", "2019-03-30T12:00:00Z",
			[]string{"2019-03-30T22:55:00Z", "2019-03-31T21:55:00Z"},
		},
		"a day that was left out": {
			"0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z",
			[]string{"2011-12-30T19:00:00Z", "2012-12-29T19:00:00Z"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed, err := Parse(tc.expression, tc.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, tc.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if at = parsed.Next(at); at.Format(time.RFC3339) != want {
					t.Fatalf("it comes at %s, want %s", at.Format(time.RFC3339), want)
				}
			}
		})
	}
}

func TestParse_saysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"":                     "it has 0 fields, and needs minute, hour, day, month, weekday and at most a year",
		"* * * *":              "it has 4 fields, and needs minute, hour, day, month, weekday and at most a year",
		"0 * * * * 2020 *":     "it has 7 fields, and needs minute, hour, day, month, weekday and at most a year",
		"@hourly":              "it has 1 fields, and needs minute, hour, day, month, weekday and at most a year",
		"TZ=UTC * * * * *":     `minute "TZ=UTC": "tz=utc" is no number`,
		"60 * * * *":           `minute "60": 60 is not within 0 to 59`,
		"-1 * * * *":           `minute "-1": "" is no number`,
		"+1 * * * *":           `minute "+1": "+1" is no number`,
		"1,,2 * * * *":         `minute "1,,2": "" is no number`,
		"*/0 * * * *":          `minute "*/0": the step "0" is no number above 0`,
		"*/60 * * * *":         `minute "*/60": a step of 60 leaves only the first of 0 to 59: write 0`,
		"*/5/5 * * * *":        `minute "*/5/5": the step "5/5" is no number above 0`,
		"* 22-2 * * *":         `hour "22-2": the range begins after its end: write two ranges, 22-23,0-2`,
		"* * 0 * *":            `day of month "0": 0 is not within 1 to 31`,
		"* * ? * *":            `day of month "?": "?" is not known here: write "*"`,
		"* * L-31 * *":         `day of month "L-31": "31" is not within 1 to 30 days before the last`,
		"* * 32W * *":          `day of month "32W": 32 is not within 1 to 31`,
		"* * W * *":            `day of month "W": "" is no number`,
		"* * * 13 *":           `month "13": 13 is not within 1 to 12`,
		"* * * JANUARY *":      `month "JANUARY": "january" is neither a number nor a name of three letters`,
		"* * * * 8":            `day of week "8": 8 is not within 0 to 7`,
		"* * * * L":            `day of week "L": "L" needs a day of the week before it: 5L is the last Friday`,
		"* * * * 5#6":          `day of week "5#6": "6" is not the first to fifth of a month`,
		"* * * * 5#L":          `day of week "5#L": "l" is not the first to fifth of a month`,
		"* * * * H":            `day of week "H": "h" is neither a number nor a name of three letters`,
		"* * * * * 1969":       `year "1969": 1969 is not within 1970 to 2099`,
		"* * * * * 2100":       `year "2100": 2100 is not within 1970 to 2099`,
		"0 0 31 2 *":           `it never comes: no month of "2" has a day "31"`,
		"0 0 30-31 2 *":        `it never comes: no month of "2" has a day "30-31"`,
		"0 0 31 2,4,6,9,11 *":  `it never comes: no month of "2,4,6,9,11" has a day "31"`,
		"0 0 L-30 2 *":         `it never comes: no month of "2" has a day "L-30"`,
		"0 0 29 2 * 2026":      `it never comes: no such day comes in the years "2026"`,
		"0 0 8 * 5#1":          `it never comes: no day "8" of month "*" is a day of week "5#1": a day must match both`,
		"0 0 LW * SAT 2026":    `it never comes: no day "LW" of month "*" is a day of week "SAT": a day must match both`,
		"99999999999999999999": "it has 1 fields, and needs minute, hour, day, month, weekday and at most a year",
	} {
		_, err := Parse(expression, "")
		switch {
		case err == nil:
			t.Errorf("%q is accepted", expression)
		case err.Error() != want:
			t.Errorf("%q is refused with\n%s\nwant\n%s", expression, err, want)
		}
	}
}

func TestParse_zones(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"", "UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"} {
		if _, err := Parse("* * * * *", zone); err != nil {
			t.Errorf("%q: %v", zone, err)
		}
	}
	for zone, want := range map[string]string{
		"Local":           `"Local" is not an IANA time zone`,
		"Mars/Olympus":    `"Mars/Olympus" is not an IANA time zone, such as Europe/Berlin`,
		"../../etc/group": `"../../etc/group" is not an IANA time zone, such as Europe/Berlin`,
		"+02:00":          `"+02:00" is not an IANA time zone, such as Europe/Berlin`,
	} {
		if _, err := Parse("* * * * *", zone); err == nil || err.Error() != want {
			t.Errorf("%q is refused with %v, want %s", zone, err, want)
		}
	}
}

// Latest agrees with going through all times.
func TestLatest_agreesWithGoingThroughAll(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(2, 3))
	for _, expression := range expressions {
		parsed, err := Parse(expression, "Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			after := time.Date(2024, 1, 1, 0, 0, random.IntN(1e7), 0, time.UTC)
			until := after.Add(time.Duration(random.Int64N(int64(10 * 24 * time.Hour))))
			var want time.Time
			for at := parsed.Next(after); !at.IsZero() && !at.After(until); at = parsed.Next(at) {
				want = at
			}
			if got := parsed.Latest(after, until); !got.Equal(want) {
				t.Errorf("%s: the latest after %s until %s is %s, want %s", expression, after, until, got, want)
			}
		}
	}
}

// A search never goes on for long, whatever it searches for: no panic, no endless loop.
func FuzzParse(f *testing.F) {
	for _, expression := range expressions {
		f.Add(expression, "Europe/Berlin", int64(1.7e9))
	}
	f.Add("0 0 31 2 *", "", int64(0))
	f.Add("* * * * * 1-2147483647", "UTC", int64(0))
	f.Add("0 0 29 2 1#5 2099", "Pacific/Apia", int64(4e9))
	f.Fuzz(func(t *testing.T, expression, timezone string, unix int64) {
		if len(expression) > 256 || len(timezone) > 64 {
			t.Skip("longer than the API server accepts")
		}
		parsed, err := Parse(expression, timezone)
		if err != nil {
			return
		}
		after := time.Unix(unix%(1<<32), 0)
		next := parsed.Next(after)
		if next.IsZero() {
			return
		}
		if !next.After(after) || next.Second() != 0 || next.Nanosecond() != 0 {
			t.Errorf("%q comes at %s after %s", expression, next, after)
		}
		if again := parsed.Next(next.Add(-time.Second)); !again.Equal(next) {
			t.Errorf("%q comes at %s, and at %s asked a second before that", expression, next, again)
		}
		if latest := parsed.Latest(after, next.Add(time.Hour)); latest.Before(next) {
			t.Errorf("%q: the latest is %s, before %s", expression, latest, next)
		}
	})
}
