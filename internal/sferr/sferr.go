// Package sferr reads what an error of gosnowflake's says, v2's and v1's alike: the
// number, the HTTP status, the query ID. It decides nothing.
//
// v1 is not imported: most programs do not have it. Its error is recognised by its
// type's name and package path, and its fields are read by reflection. Where they are
// not as expected, the error says nothing, and nothing is provable from it.
package sferr

import (
	"errors"
	"regexp"
	"slices"
	"strconv"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Said is what an error says. Its zero value is an error that is not gosnowflake's.
type Said struct {
	Number   int    // Snowflake's or gosnowflake's; of an asynchronous statement, the one inside the text
	Async    bool   // it is the error of an asynchronous statement's result
	Status   int    // the HTTP status that gosnowflake put into it, or 0
	QueryID  string // "" where gosnowflake writes "-1": it knows none
	SQLState string
	Message  string
	Args     []any // that Message is formatted with
}

// Of reads an error, whatever it is wrapped in. ok is false where it holds none of
// gosnowflake's.
func Of(err error) (said Said, ok bool) {
	if err == nil {
		return Said{}, false
	}
	var v2 *gosnowflake.SnowflakeError
	if errors.As(err, &v2) {
		said = Said{Number: v2.Number, QueryID: v2.QueryID, SQLState: v2.SQLState, Message: v2.Message, Args: v2.MessageArgs}
	} else if v1 := inV1(err); v1.IsValid() {
		said = readV1(v1)
	} else {
		return Said{}, false
	}
	if said.QueryID == "-1" {
		said.QueryID = ""
	}
	said.Async = said.Number == gosnowflake.ErrAsync
	switch {
	case said.Async:
		// An asynchronous statement reports its failure as text inside 266001.
		if m := asyncCode.FindString(said.Message); m != "" {
			said.Number, _ = strconv.Atoi(m)
		}
		if m := asyncStatus.FindStringSubmatch(said.Message); m != nil {
			said.Status, _ = strconv.Atoi(m[1])
		}
	case len(said.Args) > 0 && slices.Contains(statusCodes, said.Number):
		said.Status, _ = said.Args[0].(int)
	}
	return said, true
}

var (
	asyncCode   = regexp.MustCompile(`\b(?:39\d{4}|26\d{4})\b`)
	asyncStatus = regexp.MustCompile(`HTTP: (\d{3})\b`)
)

// The numbers whose first argument is an HTTP status (restful.go, auth.go).
var statusCodes = []int{
	gosnowflake.ErrCodeServiceUnavailable, gosnowflake.ErrCodeFailedToConnect, gosnowflake.ErrFailedToPostQuery,
	gosnowflake.ErrFailedToRenewSession, gosnowflake.ErrFailedToAuth, gosnowflake.ErrFailedToAuthSAML, gosnowflake.ErrFailedToAuthOKTA,
}

// Own reports whether the number is one of gosnowflake's own, which no server sends. It
// has an SQLState too, which is no answer of Snowflake's either.
func (s Said) Own() bool { return s.Number >= 260000 && s.Number <= 279999 }

// AboutSession reports whether the number is about a session or a login, and never about
// a statement.
func (s Said) AboutSession() bool { return s.Number >= 390000 && s.Number <= 399999 }
