package main

import (
	"bytes"
	"encoding/json"
	stdlog "log"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/klog/v2"
)

// TestSetLog_isJSON: what client-go says by klog is a line of JSON like every other, and so is what net/http says of
// strangers' connections, once in a while.
func TestSetLog_isJSON(t *testing.T) {
	var out bytes.Buffer
	o := &options{}
	o.log.DestWriter = &out
	o.setLog()
	t.Cleanup(klog.ClearLogger)
	t.Cleanup(func() { stdlog.SetOutput(os.Stderr) })
	klog.FromContext(t.Context()).Info("Attempting to acquire leader lease...", "lock", "a lease")
	var line struct{ Msg, Lock string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "Attempting to acquire leader lease..." || line.Lock != "a lease" {
		t.Errorf("%v: %q", err, out.String())
	}
	out.Reset()
	for range 3 {
		stdlog.Print("http: TLS handshake error from 192.0.2.1:1: EOF")
	}
	var failed struct{ Why string }
	if err := json.Unmarshal(out.Bytes(), &failed); err != nil || !strings.Contains(failed.Why, "handshake error") {
		t.Errorf("%v: want one line: %q", err, out.String())
	}
	out.Reset()
	stdlog.Print("http: panic serving 192.0.2.1:1: x\ngoroutine 1")
	if err := json.Unmarshal(out.Bytes(), &failed); err != nil || !strings.Contains(failed.Why, "goroutine 1") {
		t.Errorf("%v: a panic is told, whatever was before: %q", err, out.String())
	}
}

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
