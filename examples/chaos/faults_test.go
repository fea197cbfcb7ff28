package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

func TestScheduleComesFromTheSeed(t *testing.T) {
	moments := func(seed uint64, length time.Duration) (m []string) {
		for _, f := range schedule(seed, length) {
			m = append(m, fmt.Sprint(f.kind, f.at, f.lasts))
		}
		return m
	}
	if !slices.Equal(moments(28, time.Minute), moments(28, time.Minute)) {
		t.Error("the same seed gives another schedule")
	}
	if slices.Equal(moments(28, time.Minute), moments(29, time.Minute)) {
		t.Error("another seed gives the same schedule")
	}
	for _, length := range []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute} {
		for seed := range uint64(100) {
			var before fault
			seen := map[string]bool{}
			for _, f := range schedule(seed, length) {
				seen[f.detail] = true
				if f.at <= before.at+before.lasts || f.kind.lasts != (f.lasts > 0) {
					t.Errorf("seed %d: %v at %v for %v, after one at %v for %v", seed, f.kind, f.at, f.lasts, before.at, before.lasts)
				}
				before = f
			}
			if len(seen) != len(kinds) {
				t.Errorf("seed %d: %d kinds of faults, want %d", seed, len(seen), len(kinds))
			}
			if first, end := schedule(seed, length)[0].at, before.at+before.lasts; first < length/12 || end > length*11/12 {
				t.Errorf("seed %d: faults from %v to %v in %v", seed, first, end, length)
			}
		}
	}
}

// Each fault is felt while it lasts and has no effect afterwards, except that what
// it ended has ended. Time is virtual.
func TestFaultEndsWithItsTime(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.detail, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats())
				db, err := drivers[2].open(srv.Config())
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				db.SetMaxIdleConns(1)
				write := func(i int) error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					return insert(ctx, db, fmt.Sprintf("INSERT INTO facts VALUES (%d)", i))
				}
				if err := write(0); err != nil {
					t.Fatal(err)
				}
				before, begun := srv.Stats(), time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				go k.strike(ctx, srv)
				synctest.Wait()
				felt := false
				for i := 1; time.Since(begun) < 2*time.Second; i++ {
					sent := time.Now()
					err := write(i)
					felt = felt || err != nil || time.Since(sent) >= time.Second
					time.Sleep(50 * time.Millisecond)
				}
				after := srv.Stats()
				if !felt && after.Logins == before.Logins && after.Renewals == before.Renewals {
					t.Error("nobody has felt it")
				}

				requests := srv.Stats().Requests[snowtest.RequestLogin]
				for i := 1000; i < 1020; i++ {
					if err := write(i); err != nil {
						t.Errorf("afterwards: %v", err)
					}
				}
				if n := srv.Stats().Requests[snowtest.RequestLogin] - requests; n > 1 {
					t.Errorf("%d logins were sent afterwards", n)
				}
				if doubles := srv.Doubles(); len(doubles) > 0 {
					t.Errorf("ran twice: %v", doubles)
				}
			})
		})
	}
}
