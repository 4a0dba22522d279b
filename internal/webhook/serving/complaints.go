package serving

import (
	"bytes"
	"io"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
)

// complainEvery is how long what a server has to say of connections is not said again.
const complainEvery = 10 * time.Second

// Complaints logs what an HTTP server says of connections, such as a handshake that failed: one line in ten seconds, as
// whoever reaches the port could fill the log. A panic is always told.
func Complaints(to logr.Logger) io.Writer {
	return &complaints{to: to, often: rate.Sometimes{Interval: complainEvery}}
}

type complaints struct {
	to    logr.Logger
	often rate.Sometimes
}

// Write is for log.Logger.
func (c *complaints) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("http: panic serving")) { // as net/http begins it; the stack follows
		c.to.Error(nil, "Panic", "why", string(line))
		return len(line), nil
	}
	c.often.Do(func() { c.to.Info("Connection failed", "why", string(line)) })
	return len(line), nil
}
