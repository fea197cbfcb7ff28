package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// This file sees to it that nothing but a query is sent. That a statement is none
// would otherwise come out by the form of its result, when it has been carried out.
// What is not surely a query is refused.

// token is a piece of SQL. The first group is blanks and comments, the second what
// is in quotes.
var token = regexp.MustCompile(`(?s)(\s+|--[^\n]*|//[^\n]*|/\*.*?\*/)|('(?:[^'\\]|\\.|'')*'|"(?:[^"]|"")*"|\$\$.*?\$\$)|[\w\pL][\w\pL$]*|->>|.`)

// query is the outline of one. A WITH can lead to other things than a SELECT: in
// Snowflake to the CALL of a procedure that it defines.
var query = regexp.MustCompile(`^(WITH (RECURSIVE )?\S+ (\(\) )?AS \(\) (, \S+ (\(\) )?AS \(\) )*)?(SELECT|\(\)) `)

// onlyQuery returns the one query in the text, without the semicolon that ends it
// and the comments behind that.
func onlyQuery(sql string) (string, error) {
	outline := "" // without comments, literals and what is in parentheses
	end, depth := len(sql), 0
	for _, at := range token.FindAllStringSubmatchIndex(sql, -1) {
		text := strings.ToUpper(sql[at[0]:at[1]])
		switch {
		case at[2] >= 0:
		case text == ";":
			end = min(end, at[0])
		case end < len(sql) || text == "->>": // ->> chains statements
			return "", errors.New("there is more than one statement; give one query")
		case text == "(" && outline == "": // around all of it, or the first part of a UNION
		case text == "(":
			depth++
		case text == ")" && depth == 0:
		case text == ")":
			if depth--; depth == 0 {
				outline += "() "
			}
		case depth > 0:
		case at[4] >= 0:
			outline += "'' "
		default:
			outline += text + " "
		}
	}
	first, _, _ := strings.Cut(outline, " ")
	switch {
	case outline == "":
		return "", errors.New("there is no SQL")
	case !query.MatchString(outline):
		return "", fmt.Errorf("only a query is sent, which begins with SELECT or WITH, and this begins with %s; "+
			"to extract what another statement returns, run that first, and give SELECT * FROM TABLE(RESULT_SCAN('<its query ID>'))", first)
	}
	return strings.TrimSpace(sql[:end]), nil
}
