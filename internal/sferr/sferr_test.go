package sferr

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// TestWhatAnErrorSays: bare, wrapped and joined, and whatever is not gosnowflake's says
// nothing.
func TestWhatAnErrorSays(t *testing.T) {
	at := &url.URL{Scheme: "https", Host: "a.snowflakecomputing.com"}
	for _, tt := range []struct {
		err  error
		want Said
		ok   bool
	}{
		{nil, Said{}, false},
		{errors.New("390114"), Said{}, false},
		{errors.Join(errors.New("a"), fmt.Errorf("b: %w", errors.New("c"))), Said{}, false},
		{&gosnowflake.SnowflakeError{Number: 1003, SQLState: "42000", QueryID: "01b2", Message: "m"}, Said{Number: 1003, SQLState: "42000", QueryID: "01b2", Message: "m"}, true},
		{&gosnowflake.SnowflakeError{Number: 390114, SQLState: "-1", QueryID: "-1"}, Said{Number: 390114, SQLState: "-1"}, true},
		{&gosnowflake.SnowflakeError{Number: 261000, MessageArgs: []any{401, at}}, Said{Number: 261000, Status: 401, Args: []any{401, at}}, true},
		{&gosnowflake.SnowflakeError{Number: 268006, MessageArgs: []any{500, 3, 4}}, Said{Number: 268006, Args: []any{500, 3, 4}}, true},
		{&gosnowflake.SnowflakeError{Number: 266001, Message: "390114 (08001): expired"}, Said{Number: 390114, Async: true, Message: "390114 (08001): expired"}, true},
		{&gosnowflake.SnowflakeError{Number: 266001, Message: "261000: HTTP: 503"}, Said{Number: 261000, Async: true, Status: 503, Message: "261000: HTTP: 503"}, true},
	} {
		guises := []error{tt.err}
		if tt.err != nil {
			guises = append(guises, fmt.Errorf("opening: %w", tt.err), errors.Join(errors.New("other"), tt.err))
		}
		for _, err := range guises {
			if got, ok := Of(err); ok != tt.ok || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%v: %+v, %v; want %+v, %v", err, got, ok, tt.want, tt.ok)
			}
		}
	}
}

func TestNumbersAreOfTheServerOrOfTheClient(t *testing.T) {
	for number, want := range map[int][2]bool{
		1003: {false, false}, 0: {false, false}, -1: {false, false}, 259999: {false, false}, 280000: {false, false},
		260000: {true, false}, 264003: {true, false}, 279301: {true, false},
		389999: {false, false}, 390000: {false, true}, 390114: {false, true}, 394400: {false, true}, 400000: {false, false},
	} {
		s := Said{Number: number}
		if got := [2]bool{s.Own(), s.AboutSession()}; got != want {
			t.Errorf("%d: gosnowflake's own, about a session: %v, want %v", number, got, want)
		}
	}
}

// SnowflakeError is named as gosnowflake's, and is of another package.
type SnowflakeError struct{ Number int }

func (e *SnowflakeError) Error() string { return "not it" }

// TestErrorOfAnotherPackageIsNotV1s: whatever it is called.
func TestErrorOfAnotherPackageIsNotV1s(t *testing.T) {
	if got, ok := Of(fmt.Errorf("a: %w", &SnowflakeError{390114})); ok {
		t.Errorf("%+v", got)
	}
	if got, ok := Of((*SnowflakeError)(nil)); ok {
		t.Errorf("%+v", got)
	}
}
