package harness

import (
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	p := &Pulse{last: begin}
	p.feel(at(1), false)
	p.feel(at(10), false) // stood still from 1 to 10
	for second := 11; second <= 20; second++ {
		p.feel(at(second), second > 15) // crowded from 15 on
	}
	const ranOut, cut = `Post "https://x": context deadline exceeded`, "unexpected EOF"
	for name, tc := range map[string]struct {
		from, to int
		message  string
		want     bool
	}{
		"while it stood still":                    {2, 3, cut, true},
		"it stood still meanwhile":                {0, 20, cut, true},
		"at rest":                                 {11, 14, cut, false},
		"too late, at rest":                       {11, 14, ranOut, false},
		"too late, crowded":                       {14, 18, ranOut, true},
		"crowded, and the connection was cut off": {16, 18, cut, false},
	} {
		if got := p.Excuses(at(tc.from), at(tc.to), tc.message); got != tc.want {
			t.Errorf("%s: Excuses() = %v", name, got)
		}
	}
}
