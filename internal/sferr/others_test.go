package sferr

import (
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"golang.org/x/oauth2"
)

type awsError struct{ error }

func (awsError) HTTPStatusCode() int { return 429 }

// TestWhoHandsOutTokensIsUnderstood: whichever library says it.
func TestWhoHandsOutTokensIsUnderstood(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{&oauth2.RetrieveError{Response: &http.Response{StatusCode: 503}}, 503},
		{&oauth2.RetrieveError{}, 0},
		{awsError{errors.New("throttled")}, 429},
		{errors.New("token request: response status is 401"), 401},
		{io.EOF, 0},
	} {
		if got := ProviderStatus(fmt.Errorf("a login: %w", tt.err)); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestReplyThatCannotBeReadIsKnown: a page of HTML, half a reply, a code that is no number.
func TestReplyThatCannotBeReadIsKnown(t *testing.T) {
	var number int
	_, notANumber := strconv.Atoi("x")
	for err, want := range map[error]bool{
		json.Unmarshal([]byte("<html>"), &number): true, json.Unmarshal([]byte(`"x"`), &number): true,
		gzip.ErrHeader: true, gzip.ErrChecksum: true, flate.CorruptInputError(7): true, notANumber: true,
		io.EOF: false, errors.New("<html>"): false,
	} {
		if got := IsGarbled(fmt.Errorf("reading: %w", err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	if !IsNotANumber(notANumber) || IsNotANumber(gzip.ErrHeader) {
		t.Error("a code that is no number is not told from the rest")
	}
}
