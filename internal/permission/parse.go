package permission

import (
	"fmt"
	"strings"
)

// Bounds of an id. They are far beyond what DC/OS wrote and keep every id cheap to compare.
const (
	MaxLength   = 1024 // bytes of an id
	MaxSegments = 32   // segments of a tail
	MaxJobPath  = 253  // bytes of a job path: the longest name of a Kubernetes object
	maxInstance = 63   // bytes of a jobs instance: the longest name of a namespace
)

// Reason classifies why an id is malformed.
type Reason string

// The reasons of a ParseError.
const (
	ReasonEmpty           Reason = "Empty"
	ReasonTooLong         Reason = "TooLong"
	ReasonNoPrefix        Reason = "NoPrefix"
	ReasonBadCharacter    Reason = "BadCharacter"
	ReasonBadEscape       Reason = "BadEscape"
	ReasonEmptySegment    Reason = "EmptySegment"
	ReasonBadSegment      Reason = "BadSegment"
	ReasonTooManySegments Reason = "TooManySegments"
	ReasonTrailingText    Reason = "TrailingText"
)

// ParseError says what is wrong with an id, where, and what to do about it.
type ParseError struct {
	Input   string
	Reason  Reason
	Offset  int    // of the first byte in Input that is wrong
	Problem string // what is wrong
	Fix     string // what to do
}

// Error is one sentence. It quotes at most the first 80 bytes of the id.
func (e *ParseError) Error() string {
	shown := fmt.Sprintf("%q", e.Input)
	if len(e.Input) > 80 {
		shown = fmt.Sprintf("%q...", e.Input[:80])
	}
	return fmt.Sprintf("resource id %s: %s at offset %d: %s", shown, e.Problem, e.Offset, e.Fix)
}

// ParseResource reads an id as people and DC/OS write it. Every error is a *ParseError.
func ParseResource(s string) (Resource, error) {
	p := parser{input: s}
	if err := p.checkBytes(); err != nil {
		return Resource{}, err
	}
	r, err := p.parse()
	if err != nil {
		return Resource{}, err
	}
	r.given = s
	return r, nil
}

// MustParseResource is ParseResource for ids that are written in the program. It panics on an error.
func MustParseResource(s string) Resource {
	r, err := ParseResource(s)
	if err != nil {
		panic(err)
	}
	return r
}

// ParseJobResource is the id of the jobs under a path in an instance, checked as ParseResource checks
// it. The empty path stands for all jobs of the instance.
func ParseJobResource(instance, path string) (Resource, error) {
	id := jobsHead + instance + jobsEnd
	if path != "" {
		id += ":" + path
	}
	r, err := ParseResource(id)
	if err == nil && (r.family != FamilyJobs || r.scope != instance) {
		err = &ParseError{
			Input: id, Reason: ReasonBadSegment, Offset: len(jobsHead),
			Problem: fmt.Sprintf("instance %q is not the name of a namespace", instance), Fix: "name one namespace",
		}
	}
	if err != nil {
		return Resource{}, err
	}
	return r, nil
}

// parser reads one id. Its text is the input with slashes unescaped.
type parser struct{ input, text string }

func (p *parser) fail(reason Reason, at int, problem, fix string) *ParseError {
	return &ParseError{Input: p.input, Reason: reason, Offset: p.inputOffset(at), Problem: problem, Fix: fix}
}

// inputOffset is where the byte at an offset of the text comes from.
func (p *parser) inputOffset(at int) int {
	if len(p.text) == len(p.input) || p.text == "" {
		return at
	}
	in := 0
	for ; at > 0 && in < len(p.input); at-- {
		in += max(1, escapedSlash(p.input[in:]))
	}
	return in
}

// escapedSlash is the length of the escaped slash that s starts with, or 0.
func escapedSlash(s string) int {
	for _, escape := range [...]string{"%2F", "%252F"} {
		if len(s) >= len(escape) && strings.EqualFold(s[:len(escape)], escape) {
			return len(escape)
		}
	}
	return 0
}

// checkBytes refuses what no id may contain and unescapes slashes.
func (p *parser) checkBytes() error {
	s := p.input
	switch {
	case s == "":
		return p.fail(ReasonEmpty, 0, "it is empty", "write an id such as "+jobsHead+"metronome:jobs:dev.batch")
	case len(s) > MaxLength:
		return p.fail(ReasonTooLong, MaxLength, fmt.Sprintf("it has %d bytes", len(s)), fmt.Sprintf("use at most %d", MaxLength))
	}
	escapes := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80:
			return p.fail(ReasonBadCharacter, i, "a character is not ASCII", "remove it: ids are ASCII, so that none looks like another")
		case c <= ' ' || c == 0x7f:
			return p.fail(ReasonBadCharacter, i, fmt.Sprintf("character %q is a space or control character", c), "remove it")
		case c == '%':
			n := escapedSlash(s[i:])
			if n == 0 {
				return p.fail(ReasonBadEscape, i, "'%' starts no escaped slash", "write characters as they are; only %2F and %252F are understood, for /")
			}
			escapes++
			i += n - 1
		}
	}
	p.text = s
	if escapes > 0 {
		p.text = unescape(s)
	}
	return nil
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if n := escapedSlash(s[i:]); n > 0 {
			b = append(b, '/')
			i += n - 1
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// parse finds the family by the head and reads the tail as the family wants it.
func (p *parser) parse() (Resource, error) {
	s := p.text
	if !strings.HasPrefix(s, prefix) {
		return Resource{}, p.fail(ReasonNoPrefix, 0, `it does not start with "dcos:"`, `start it with "dcos:", in lower case`)
	}
	switch {
	case s == superuserID:
		return Superuser(), nil
	case strings.HasPrefix(s, superuserID+":"):
		return Resource{}, p.fail(ReasonTrailingText, len(superuserID), "dcos:superuser has no parts", "write dcos:superuser alone")
	case s == routerHead:
		return AdminRouter(""), nil
	case strings.HasPrefix(s, routerHead+":"):
		if err := p.checkColons(len(prefix)); err != nil {
			return Resource{}, err
		}
		return AdminRouter(s[len(routerHead)+1:]), nil
	}
	head := p.cutHead(len(prefix))
	if head.family == FamilyOther {
		if err := p.checkColons(len(prefix)); err != nil {
			return Resource{}, err
		}
		return Resource{family: FamilyOther, tail: s[len(prefix):], seps: colon}, nil
	}
	if err := p.checkColons(len(prefix), head.tailAt); err != nil {
		return Resource{}, err
	}
	if err := p.checkInstance(head); err != nil {
		return Resource{}, err
	}
	return p.parseTail(head)
}

// head is what the colon-separated start of an id says.
type head struct {
	family  Family
	scopeAt int
	scope   string
	tailAt  int // offset of the tail, or the length of the text if there is none
}

// cutHead recognizes the families with four segments after dcos that have a tail of their own.
func (p *parser) cutHead(from int) head {
	var part [4]string
	at := from
	for i := range part {
		end := strings.IndexByte(p.text[at:], ':')
		if end < 0 {
			part[i], at = p.text[at:], len(p.text)
			if i < len(part)-1 {
				return head{family: FamilyOther}
			}
			break
		}
		part[i], at = p.text[at:at+end], at+end+1
	}
	h := head{tailAt: at, scopeAt: from + len(part[0]) + 1}
	switch {
	case part[0] == "service" && part[1] == "metronome" && part[3] == "jobs":
		h.family, h.scope = FamilyJobs, part[2]
		h.scopeAt += len(part[1]) + 1
	case part[0] == "service" && part[1] == "marathon" && part[3] == "services":
		h.family, h.scope = FamilyServices, part[2]
		h.scopeAt += len(part[1]) + 1
	case part[0] == "mesos" && (part[1] == "master" || part[1] == "agent"):
		h.family = mesosFamily(part[3])
		h.scope = p.text[h.scopeAt : h.scopeAt+len(part[1])+len(part[2])+len(part[3])+2]
	default:
		h.family = FamilyOther
	}
	return h
}

func mesosFamily(what string) Family {
	switch what {
	case "app_id":
		return FamilyAppID
	case "role":
		return FamilyRole
	case "user":
		return FamilyUser
	case "principal":
		return FamilyPrincipal
	}
	return FamilyOther
}

// checkColons refuses empty and too many colon-separated segments from an offset to the end, or to a
// second offset where a tail begins.
func (p *parser) checkColons(from int, to ...int) error {
	end := len(p.text)
	if len(to) > 0 {
		end = to[0]
		if p.text[end-1] == ':' { // the colon before the tail
			end--
		}
	}
	start, count := from, 0
	for i := from; i <= end; i++ {
		if i < end && p.text[i] != ':' {
			continue
		}
		if i == start {
			return p.fail(ReasonEmptySegment, i, "a segment is empty", "remove the extra colon or fill the gap")
		}
		start = i + 1
		if count++; count > MaxSegments {
			return p.fail(ReasonTooManySegments, i, fmt.Sprintf("it has more than %d segments", MaxSegments), "shorten it")
		}
	}
	return nil
}

// checkInstance refuses a jobs instance that can't be a namespace. The instances of services belong
// to Marathon and are taken as they are, without slashes.
func (p *parser) checkInstance(h head) error {
	ok := true
	switch h.family {
	case FamilyJobs:
		ok = len(h.scope) <= maxInstance && isLabel(h.scope)
	case FamilyServices:
		ok = !strings.Contains(h.scope, "/")
	default: // no other family has an instance
	}
	if !ok {
		return p.fail(ReasonBadSegment, h.scopeAt, fmt.Sprintf("instance %q is not the name of a namespace", h.scope),
			"use lower-case letters, digits and inner hyphens, at most 63")
	}
	return nil
}

// isLabel reports whether s is lower-case letters and digits with inner hyphens: a segment of a job
// path or the name of a namespace.
func isLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// parseTail reads what follows the head.
func (p *parser) parseTail(h head) (Resource, error) {
	r := Resource{family: h.family, scope: h.scope}
	check := checkPathSegment
	switch h.family {
	case FamilyJobs:
		r.seps, check = dot|slash, checkJobSegment
	case FamilyServices, FamilyAppID:
		r.seps = slash
	default: // one literal part
	}
	tail, at := p.text[h.tailAt:], h.tailAt
	if i := strings.IndexByte(tail, ':'); i >= 0 {
		return Resource{}, p.fail(ReasonTrailingText, at+i, "a colon stands in the last part", "an id of the family "+h.family.String()+" ends with one path or name")
	}
	if r.seps == 0 {
		r.tail = tail
		return r, nil
	}
	if tail != "" && r.seps.has(tail[0]) {
		tail, at = tail[1:], at+1
	}
	if len(tail) > 1 && r.seps.has(tail[len(tail)-1]) { // "//" is an empty segment, not everything
		tail = tail[:len(tail)-1]
	}
	r.tail = tail
	if h.family == FamilyJobs && !strings.Contains(tail, "/") {
		r.seps = dot // the usual form
	}
	if h.family == FamilyJobs && len(tail) > MaxJobPath {
		return Resource{}, p.fail(ReasonTooLong, at+MaxJobPath, fmt.Sprintf("the job path has %d bytes", len(tail)), fmt.Sprintf("use at most %d, as no Job has a longer name", MaxJobPath))
	}
	path := r.Path()
	for count := 1; ; count++ {
		segment, ok := path.Next()
		if !ok {
			return r, nil
		}
		if count > MaxSegments {
			return Resource{}, p.fail(ReasonTooManySegments, at, fmt.Sprintf("the path has more than %d segments", MaxSegments), "shorten it")
		}
		if reason, problem, fix := check(segment); reason != "" {
			return Resource{}, p.fail(reason, at, problem, fix)
		}
		at += len(segment) + 1
	}
}

func checkJobSegment(s string) (reason Reason, problem, fix string) {
	switch {
	case s == "":
		return ReasonEmptySegment, "a segment of the job path is empty", "remove the extra separator"
	case s == "*":
		return ReasonBadSegment, `"*" is no wildcard`, "leave the last segments out to cover all jobs below"
	case !isLabel(s):
		return ReasonBadSegment, fmt.Sprintf("%q can't be a segment of a job's id", s),
			"use lower-case letters, digits and inner hyphens, separated by dots"
	}
	return "", "", ""
}

func checkPathSegment(s string) (reason Reason, problem, fix string) {
	switch s {
	case "":
		return ReasonEmptySegment, "a segment of the path is empty", "remove the extra slash"
	case "*":
		return ReasonBadSegment, `"*" is no wildcard`, "leave the last segments out to cover everything below"
	case ".", "..":
		return ReasonBadSegment, fmt.Sprintf("%q is no name", s), "write the whole path"
	}
	return "", "", ""
}
