package snowtest

import (
	"strings"

	"github.com/snowtether/snowtether/internal/sqltext"
)

// The driver and this server cut SQL into tokens with one scanner. What a statement
// does is judged here alone, so that the server does not share the driver's mistakes.

// tokens calls visit for each token, until it returns false.
func tokens(sql string, visit func(t sqltext.Token) bool) {
	sc := sqltext.NewScanner(sql)
	for t := sc.Next(); t.Kind != sqltext.End && visit(t); t = sc.Next() {
	}
}

// splitStatements splits SQL text at its top-level semicolons. Parts that hold
// nothing but comments are left out. A Snowflake Scripting block is one
// statement, to the end of the text.
func splitStatements(sql string) []string {
	var parts []string
	start := 0
	add := func(end int) {
		if part := strings.TrimSpace(sql[start:end]); len(words(part, 1)) > 0 {
			parts = append(parts, part)
		}
	}
	tokens(sql, func(t sqltext.Token) bool {
		if !t.Is(";") {
			return true
		}
		if isBlock(sql[start:]) {
			return false
		}
		add(t.Start)
		start = t.End
		return true
	})
	add(len(sql))
	return parts
}

// isBlock reports whether the text begins with a scripting block: DECLARE, or a
// BEGIN that is not the beginning of a transaction.
func isBlock(sql string) bool {
	w := words(sql, 2)
	switch {
	case len(w) == 0:
		return false
	case w[0] == "DECLARE":
		return true
	case w[0] != "BEGIN" || len(w) == 1:
		return false
	}
	switch w[1] {
	case ";", "TRANSACTION", "WORK", "NAME":
		return false
	}
	return true
}

// countPlaceholders counts the question marks that stand for bind values.
func countPlaceholders(sql string) int {
	n := 0
	tokens(sql, func(t sqltext.Token) bool {
		if t.Is("?") {
			n++
		}
		return true
	})
	return n
}

// words returns the first n words of SQL text in upper case, quoted text as it is.
// Comments separate words; an operator is a word of its own.
func words(sql string, n int) []string {
	var list []string
	tokens(sql, func(t sqltext.Token) bool {
		if len(list) == n {
			return false
		}
		text := t.Text
		if t.Kind == sqltext.Word || t.Kind == sqltext.Number {
			text = upper(text)
		}
		list = append(list, text)
		return true
	})
	return list
}

// isName reports whether a word can name a parameter.
func isName(word string) bool {
	sc := sqltext.NewScanner(word)
	return sc.Next().Kind == sqltext.Word
}

// kindOfSQL guesses the kind of a statement by its first words.
func kindOfSQL(sql string) Kind {
	w := append(words(sql, 2), "", "")
	switch w[0] {
	case "INSERT":
		if w[1] == "ALL" || w[1] == "FIRST" {
			return KindMultiInsert
		}
		return KindInsert
	case "UPDATE":
		return KindUpdate
	case "DELETE":
		return KindDelete
	case "MERGE":
		return KindMerge
	case "COPY":
		return kindOfCopy(sql)
	case "COMMIT", "ROLLBACK":
		return KindTCL
	case "BEGIN":
		if !isBlock(sql) {
			return KindTCL
		}
	case "START":
		if w[1] == "TRANSACTION" {
			return KindTCL
		}
	case "USE", "SET", "UNSET":
		return KindSCL
	case "ALTER":
		if w[1] == "SESSION" {
			return KindSCL
		}
		return KindDDL
	case "CREATE", "DROP", "UNDROP", "TRUNCATE", "GRANT", "REVOKE", "COMMENT":
		return KindDDL
	}
	return KindSelect
}

// kindOfCopy tells a load from an unload by the target behind INTO.
func kindOfCopy(sql string) Kind {
	w := append(words(sql, 3), "", "")
	if w[1] == "INTO" && (strings.HasPrefix(w[2], "@") || strings.HasPrefix(w[2], "'")) {
		return KindUnload
	}
	return KindCopy
}

// changedTable is the table, as the text names it, that an UPDATE, DELETE or MERGE
// changes; empty for any other statement.
func changedTable(sql string) string {
	var name strings.Builder
	first, after := "", false // the statement's first word; a part of the name has come
	tokens(sql, func(t sqltext.Token) bool {
		switch {
		case first == "":
			first = upper(t.Text)
			return first == "UPDATE" || first == "DELETE" || first == "MERGE"
		case name.Len() == 0 && (first == "DELETE" && t.Word("FROM") || first == "MERGE" && t.Word("INTO")):
			return true
		case t.Is(".") && after:
			name.WriteString(".")
		case t.Kind == sqltext.Word && !after:
			name.WriteString(upper(t.Text))
		case t.Kind == sqltext.QuotedName && !after:
			name.WriteString(t.Text)
		default:
			return false
		}
		after = !t.Is(".")
		return true
	})
	return name.String()
}

// tclOf is what a transaction statement does.
func tclOf(sql string) TransactionChange {
	w := append(words(sql, 2), "", "")
	switch {
	case w[0] == "BEGIN" && !isBlock(sql), w[0] == "START" && w[1] == "TRANSACTION":
		return Begun
	case w[0] == "COMMIT":
		return Committed
	case w[0] == "ROLLBACK":
		return RolledBack
	}
	return NoChange
}

// alteredParameters returns what ALTER SESSION sets, by name in upper case; "" stands
// for UNSET.
func alteredParameters(sql string) map[string]any {
	w := words(sql, len(sql))
	if len(w) < 4 || w[0] != "ALTER" || w[1] != "SESSION" {
		return nil
	}
	params := map[string]any{}
	for i := 3; i < len(w); i++ {
		switch {
		case w[2] == "UNSET" && isName(w[i]):
			params[w[i]] = ""
		case w[2] == "SET" && w[i] == "=" && i+1 < len(w):
			params[w[i-1]] = strings.Trim(w[i+1], "'")
		}
	}
	return params
}
