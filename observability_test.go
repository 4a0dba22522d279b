package main

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestQuiet: what anybody can provoke is logged once in a while, each kind by itself, and everything else always.
func TestQuiet(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	quiet := newQuiet(core)
	write := func(message string, after time.Duration) {
		entry := zapcore.Entry{Level: zap.InfoLevel, Message: message, Time: time.Unix(1000, 0).Add(after)}
		if checked := quiet.With(nil).Check(entry, nil); checked != nil {
			checked.Write()
		}
	}
	for _, message := range append([]string{"Launched run"}, provoked...) {
		for range 3 {
			write(message, 0)
			write(message, pause-1)
			write(message, pause)
		}
	}
	for _, message := range provoked {
		if got := lines.FilterMessage(message).Len(); got != 2 {
			t.Errorf("%q is logged %d times in %s", message, got, pause)
		}
	}
	if got := lines.FilterMessage("Launched run").Len(); got != 9 {
		t.Errorf("of 9 lines that nobody provokes %d are logged", got)
	}
}
