package snowtether

import (
	"context"
	"testing"
	"time"
)

// TestLoginMaySucceedAtTheMomentItEnds: its session is then kept, and package context
// does not panic over a parent that has ended and has not.
func TestLoginMaySucceedAtTheMomentItEnds(t *testing.T) {
	for range 100 {
		l := newLoginContext(context.Background(), context.Background(), nil)
		request, cancel := context.WithTimeout(l, time.Hour)
		l.end(context.Canceled)
		l.succeeded()
		<-request.Done()
		if l.Err() != nil {
			t.Fatalf("the login succeeded and its context has ended: %v", l.Err())
		}
		late, cancelLate := context.WithCancel(l)
		if late.Err() != nil {
			t.Fatal("what follows the login has ended")
		}
		cancelLate()
		cancel()
		l.release()
	}
}
