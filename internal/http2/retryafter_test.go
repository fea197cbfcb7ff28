package http2_test

import (
	"testing"
	"time"

	"github.com/snowtether/snowtether/internal/http2"
)

func TestRetryAfterIsRead(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "120": 2 * time.Minute, "-5": 0,
		"300": http2.MaxRetryAfter, "301": http2.MaxRetryAfter, "2147483647": http2.MaxRetryAfter,
		"Fri, 02 Jan 2026 03:04:35 GMT":  30 * time.Second,
		"Friday, 02-Jan-26 03:04:35 GMT": 30 * time.Second,
		"Fri Jan  2 03:04:35 2026":       30 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT":  0,
		"Fri, 02 Jan 2099 03:04:00 GMT":  http2.MaxRetryAfter,
		"":                               -1,
		"soon":                           -1,
		"1.5":                            -1,
		"99999999999999999999":           -1,
		"Fri, 32 Jan 2026 03:04:35 GMT":  -1,
		"1; secret":                      -1,
	} {
		got, err := http2.ReadRetryAfter(text, now)
		if want < 0 {
			if err == nil {
				t.Errorf("%q is %v, want an error", text, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
}
