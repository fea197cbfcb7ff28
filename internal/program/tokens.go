package program

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// This file asks the program's token source, which knows no context and may hang.

// earlyExpiry is how long before its expiry a token is not used any more: a login
// takes seconds, and clocks differ.
const earlyExpiry = time.Minute

// Tokens are what the program's token source hands out. It is asked for one login at a time,
// and its answer is kept until that nears its expiry.
type Tokens struct {
	source    oauth2.TokenSource
	functions *Functions
	lock      chan struct{} // held by whoever asks the source
	asking    atomic.Int64  // calls that have not returned

	mu    sync.Mutex
	token *oauth2.Token
}

// NewTokens are those of a source.
func NewTokens(source oauth2.TokenSource, p *Functions) *Tokens {
	return &Tokens{source: source, functions: p, lock: make(chan struct{}, 1)}
}

// Get returns a token that is good and is not stale.
func (t *Tokens) Get(ctx context.Context, stale string) (string, error) {
	if token := t.cached(stale); token != "" {
		return token, nil
	}
	select {
	case t.lock <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for another login to ask for a token: %w", ctx.Err())
	}
	if token := t.cached(stale); token != "" {
		<-t.lock
		return token, nil
	}
	// oauth2.TokenSource knows no context. A call that hangs is left behind, and others are
	// made in its place; but not many.
	type answer struct {
		token string
		err   error
	}
	done := make(chan answer, 1)
	var once sync.Once
	free := func() { once.Do(func() { <-t.lock }) }
	t.asking.Add(1)
	go func() {
		a := answer{err: ErrGoexit}
		defer func() {
			t.asking.Add(-1)
			free()
			done <- a
		}()
		ctx, over := t.functions.Enter(ctx)
		defer over()
		a.token, a.err = Guard(ctx, func(ctx context.Context) (string, error) { return t.ask(ctx, stale != "") })
	}()
	select {
	case a := <-done:
		if a.err == nil && a.token == stale {
			a.err = errors.New("it returned the token that was just refused")
		}
		return a.token, a.err
	case <-ctx.Done():
		if t.asking.Load() < maxAsking {
			free()
		}
		return "", fmt.Errorf("it has not answered: %w", ctx.Err())
	}
}

// maxAsking is how many calls of a token source may hang until it is not called any more.
const maxAsking = 5

// cached is the token at hand, "" if it is stale or nears its expiry. Expiry goes
// by the wall clock, without the monotonic reading: that stands still while a
// laptop sleeps.
func (t *Tokens) cached(stale string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.token == nil || t.token.AccessToken == stale:
		return ""
	case !t.token.Expiry.IsZero() && !time.Now().Round(0).Add(earlyExpiry).Before(t.token.Expiry):
		return ""
	}
	return t.token.AccessToken
}

// ask asks the source and keeps its answer.
func (t *Tokens) ask(ctx context.Context, force bool) (string, error) {
	var token *oauth2.Token
	var err error
	if r, ok := t.source.(interface {
		Refresh(context.Context) (*oauth2.Token, error)
	}); ok && force {
		token, err = r.Refresh(ctx)
	} else {
		token, err = t.source.Token()
	}
	switch {
	case err != nil:
		return "", err
	case token == nil || token.AccessToken == "":
		return "", errors.New("it returned an empty token")
	case !token.Expiry.IsZero() && !time.Now().Round(0).Before(token.Expiry):
		return "", fmt.Errorf("it returned a token that expired at %s", token.Expiry.UTC().Format(time.RFC3339))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = token
	return token.AccessToken, nil
}
