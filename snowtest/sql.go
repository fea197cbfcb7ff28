package snowtest

import "strings"

// scan walks over SQL text and calls visit for each byte that stands outside of
// string literals, quoted identifiers, dollar-quoted text and comments. It stops
// when visit returns false.
func scan(sql string, visit func(i int) bool) {
	for i := 0; i < len(sql); {
		end := skip(sql, i)
		if end > i {
			i = end
			continue
		}
		if !visit(i) {
			return
		}
		i++
	}
}

// skip returns the end of the literal or comment that begins at i, or i.
func skip(sql string, i int) int {
	rest := sql[i:]
	switch {
	case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "//"):
		return until(sql, i+2, "\n")
	case strings.HasPrefix(rest, "/*"):
		return until(sql, i+2, "*/")
	case strings.HasPrefix(rest, "$$"):
		return until(sql, i+2, "$$")
	case rest[0] == '\'':
		return quoted(sql, i+1, '\'', true)
	case rest[0] == '"':
		return quoted(sql, i+1, '"', false)
	}
	return i
}

func until(sql string, from int, end string) int {
	if n := strings.Index(sql[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(sql)
}

// quoted finds the end of quoted text; a doubled quote, and in string literals
// a backslash, keeps it open.
func quoted(sql string, from int, quote byte, backslash bool) int {
	for i := from; i < len(sql); i++ {
		switch {
		case backslash && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
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
	scan(sql, func(i int) bool {
		if sql[i] != ';' {
			return true
		}
		if isBlock(sql[start:]) {
			return false
		}
		add(i)
		start = i + 1
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
	scan(sql, func(i int) bool {
		if sql[i] == '?' {
			n++
		}
		return true
	})
	return n
}

// words returns the first n words of SQL text in upper case. Comments separate
// words; any other byte is a word of its own.
func words(sql string, n int) []string {
	var list []string
	for i := 0; i < len(sql) && len(list) < n; {
		c := sql[i]
		if end := skip(sql, i); end > i {
			if c == '\'' || c == '"' || c == '$' {
				list = append(list, sql[i:end])
			}
			i = end
			continue
		}
		if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			i++
			continue
		}
		end := i + 1
		if isWord(c) {
			for end < len(sql) && isWord(sql[end]) {
				end++
			}
		}
		list = append(list, upper(sql[i:end]))
		i = end
	}
	return list
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
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
		return KindDML
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

// changesData reports whether running the statement twice could do something
// twice: DML, CALL and scripting blocks.
func changesData(sql string) bool {
	w := append(words(sql, 2), "", "")
	switch w[0] {
	case "CALL":
		return true
	case "EXECUTE":
		return w[1] == "IMMEDIATE"
	}
	return kindOfSQL(sql).IsDML() || isBlock(sql)
}

// tclOf is BEGIN, COMMIT or ROLLBACK, or empty.
func tclOf(sql string) string {
	w := append(words(sql, 2), "", "")
	switch {
	case w[0] == "BEGIN" && !isBlock(sql), w[0] == "START" && w[1] == "TRANSACTION":
		return "BEGIN"
	case w[0] == "COMMIT", w[0] == "ROLLBACK":
		return w[0]
	}
	return ""
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
		case w[2] == "UNSET" && isWord(w[i][0]):
			params[w[i]] = ""
		case w[2] == "SET" && w[i] == "=" && i+1 < len(w):
			params[w[i-1]] = strings.Trim(w[i+1], "'")
		}
	}
	return params
}
