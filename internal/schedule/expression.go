package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/netresearch/go-cron"
)

// Years that an expression may name, those of Metronome.
const (
	firstYear = 1970
	lastYear  = 2099
)

// searchYears is how far ahead a next time is looked for: from any moment on, every year that an expression
// may name. The rarest day without a year, a 29 February on a given weekday, comes every 28 years, and after 40
// where a century is not a leap year.
const searchYears = lastYear - firstYear + 1

// cronField is one of the six fields of an expression.
type cronField struct {
	name     string
	min, max int
	// names are the words for values, in lower case; nil if there are none.
	names map[string]int
	// special accepts a term of its own besides numbers and ranges, and returns it as the library reads it;
	// ok is false if it is none.
	special func(f cronField, term string) (library string, ok bool, err error)
}

var (
	monthNames   = numbered(1, "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
	weekdayNames = numbered(0, "sun", "mon", "tue", "wed", "thu", "fri", "sat")
)

// cronFields are the fields in the order in which they are written.
var cronFields = []cronField{
	{name: "minute", min: 0, max: 59},
	{name: "hour", min: 0, max: 23},
	{name: "day of month", min: 1, max: 31, special: specialDay},
	{name: "month", min: 1, max: 12, names: monthNames},
	{name: "day of week", min: 0, max: 7, names: weekdayNames, special: specialWeekday},
	{name: "year", min: firstYear, max: lastYear},
}

// Positions in cronFields.
const (
	dayField = iota + 2
	monthField
	weekdayField
	yearField
)

func numbered(first int, names ...string) map[string]int {
	numbers := make(map[string]int, len(names))
	for i, name := range names {
		numbers[name] = first + i
	}
	return numbers
}

// library evaluates what translate has made of an expression. Its own grammar is wider than ours: it is
// never given what a user wrote.
var library = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Year | cron.Extended).
	WithMaxSearchYears(searchYears)

// parseExpression reads five fields and an optional year. It refuses what no day can match.
func parseExpression(expression string) (*cron.SpecSchedule, error) {
	written := strings.Fields(expression)
	if n := len(written); n != len(cronFields) && n != len(cronFields)-1 {
		return nil, fmt.Errorf("it has %d fields, and needs minute, hour, day, month, weekday and at most a year", n)
	}
	translated := make([]string, len(cronFields))
	translated[yearField] = "*"
	for i, text := range written {
		field, err := cronFields[i].translate(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", cronFields[i].name, text, err)
		}
		translated[i] = field
	}
	spec, err := evaluated(translated)
	if err != nil {
		return nil, err
	}
	if !everMatches(spec) {
		return nil, neverMatches(written, translated)
	}
	return spec, nil
}

// evaluated hands a translated expression to the library.
func evaluated(translated []string) (*cron.SpecSchedule, error) {
	parsed, err := library.Parse(strings.Join(translated, " "))
	if err != nil {
		return nil, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("it is no list of times") // can't be: descriptors are not enabled
	}
	return spec, nil
}

// translate reads a field: terms separated by commas.
func (f cronField) translate(text string) (string, error) {
	terms := strings.Split(text, ",")
	for i, term := range terms {
		translated, err := f.translateTerm(strings.ToLower(term))
		if err != nil {
			return "", err
		}
		terms[i] = translated
	}
	// The library knows only a lone star as "any year".
	if slices.Contains(terms, "*") {
		return "*", nil
	}
	return strings.Join(terms, ","), nil
}

// translateTerm reads one of: *  */n  a  a-b  a/n  a-b/n, and what is special to the field.
func (f cronField) translateTerm(term string) (string, error) {
	if f.special != nil {
		if translated, ok, err := f.special(f, term); ok || err != nil {
			return translated, err
		}
	}
	values, step, stepped := strings.Cut(term, "/")
	low, high, err := f.bounds(values, stepped)
	if err != nil {
		return "", err
	}
	every := 1
	if stepped {
		if every, err = number(step); err != nil || every == 0 {
			return "", fmt.Errorf("the step %q is no number above 0", step)
		}
	}
	switch {
	case every > 1 && every > high-low:
		return "", fmt.Errorf("a step of %d leaves only the first of %d to %d: write %d", every, low, high, low)
	case every == 1 && low == f.min && high >= f.max:
		return "*", nil
	case low == high:
		return strconv.Itoa(low), nil
	default:
		return fmt.Sprintf("%d-%d/%d", low, high, every), nil
	}
}

// bounds reads a star, a value, or a range of values. A value with a step is the begin of a range.
func (f cronField) bounds(text string, stepped bool) (low, high int, err error) {
	if text == "*" {
		return f.min, f.max, nil
	}
	first, last, ranged := strings.Cut(text, "-")
	if low, err = f.value(first); err != nil {
		return 0, 0, err
	}
	switch {
	case ranged:
		if high, err = f.value(last); err != nil {
			return 0, 0, err
		}
		if last == "sun" && low > 0 { // the end of the week in a range, its begin elsewhere
			high = 7
		}
	case stepped:
		high = f.max
	default:
		high = low
	}
	if low > high {
		return 0, 0, fmt.Errorf("the range begins after its end: write two ranges, %d-%d,%d-%d", low, f.max, f.min, high)
	}
	return low, high, nil
}

// value reads a number or a name.
func (f cronField) value(text string) (int, error) {
	if n, ok := f.names[text]; ok {
		return n, nil
	}
	n, err := number(text)
	switch {
	case text == "?":
		return 0, errors.New(`"?" is not known here: write "*"`)
	case err != nil && f.names != nil:
		return 0, fmt.Errorf("%q is neither a number nor a name of three letters", text)
	case err != nil:
		return 0, fmt.Errorf("%q is no number", text)
	case n < f.min || n > f.max:
		return 0, fmt.Errorf("%d is not within %d to %d", n, f.min, f.max)
	}
	return n, nil
}

// specialDay reads L, L-n, LW and nW.
func specialDay(f cronField, term string) (string, bool, error) {
	day, weekday := strings.CutSuffix(term, "w")
	before, fromLast := strings.CutPrefix(term, "l-")
	switch {
	case term == "l", term == "lw":
		return term, true, nil
	case fromLast:
		n, err := number(before)
		if err != nil || n < 1 || n > 30 {
			return "", true, fmt.Errorf("%q is not within 1 to 30 days before the last", before)
		}
		return fmt.Sprintf("L-%d", n), true, nil
	case weekday:
		n, err := f.value(day)
		return fmt.Sprintf("%dW", n), true, err
	}
	return "", false, nil
}

// specialWeekday reads n#k and nL, with a number or a name.
func specialWeekday(f cronField, term string) (string, bool, error) {
	weekday, nth, counted := strings.Cut(term, "#")
	if counted {
		day, err := f.value(weekday)
		if err != nil {
			return "", true, err
		}
		n, err := number(nth)
		if err != nil || n < 1 || n > 5 {
			return "", true, fmt.Errorf("%q is not the first to fifth of a month", nth)
		}
		return fmt.Sprintf("%d#%d", day, n), true, nil
	}
	weekday, last := strings.CutSuffix(term, "l")
	switch {
	case last && weekday == "":
		return "", true, errors.New(`"L" needs a day of the week before it: 5L is the last Friday`)
	case last:
		day, err := f.value(weekday)
		return fmt.Sprintf("%d#L", day), true, err
	}
	return "", false, nil
}

// number reads digits and nothing else.
func number(text string) (int, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}
