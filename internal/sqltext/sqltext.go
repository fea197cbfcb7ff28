// Package sqltext says what a SQL text can do: read, write, end a transaction, change
// its session, act outside of what a rollback undoes. Its world is closed: what is not
// known to be harmless is harmful. It reads keywords and calls, not expressions, and
// allocates nothing.
package sqltext

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// A Kind says what a part of a text is. Parts are the statements between semicolons
// and the links of a chain (->>).
type Kind uint8

const (
	// Unknown may do anything: CALL, EXECUTE, a block of Snowflake Scripting, WITH …
	// AS PROCEDURE, whatever does not begin as known.
	Unknown      Kind = iota
	Read              // SELECT, VALUES, WITH … SELECT, SHOW, DESCRIBE, EXPLAIN, LIST
	DML               // INSERT, UPDATE, DELETE, MERGE, COPY; TRUNCATE and REMOVE, which act outside
	DDL               // CREATE, ALTER, DROP, UNDROP, GRANT, REVOKE, COMMENT
	Transaction       // BEGIN, START TRANSACTION, COMMIT, ROLLBACK
	Session           // USE, SET, UNSET, ALTER SESSION, CREATE TEMPORARY
	FileTransfer      // PUT, GET
)

func (k Kind) String() string {
	names := [...]string{"unknown", "read", "DML", "DDL", "transaction", "session", "file transfer"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[Unknown]
}

// A Reader reads texts for one program, with the functions that the program vouches
// for. Its zero value knows Snowflake's own.
type Reader struct{ harmless []string }

// NewReader takes the names of functions without effect, as my_udf or db.s.f: unquoted
// names joined by dots. They are compared without case with the name as a statement
// writes it. The error is one line, and says which name it is about without repeating it:
// it could be a secret that slipped into the wrong place.
func NewReader(harmless ...string) (Reader, error) {
	for i, name := range harmless {
		if err := checkName(name); err != nil {
			return Reader{}, fmt.Errorf("name %d %w", i+1, err)
		}
	}
	return Reader{harmless: append([]string(nil), harmless...)}, nil
}

var (
	errName   = errors.New("is not the name of a function: write f, schema.f or db.schema.f, without quotes and parentheses")
	errSystem = errors.New("is a system function's: these have effects")
)

func checkName(name string) error {
	begins := true
	dots := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.' && !begins:
			begins = true
			dots++
			continue
		case c >= utf8.RuneSelf || !isWord(c), begins && c <= '9': // $, and the digits
			return errName
		case begins && len(name)-i >= 7 && equalFold(name[i:i+7], "SYSTEM$"):
			return errSystem
		}
		begins = false
	}
	if begins || dots > 2 {
		return errName
	}
	return nil
}

// Read takes a text as a statement, and reads its first words, from which most answers
// follow. The others are found out when the statement is asked for them.
func (r Reader) Read(text string) Statement {
	s := Statement{text: text, reader: r, head: parts{rest: NewScanner(text)}}
	s.head.fresh = s.head.next()
	return s
}

// A Statement is a SQL text, of one part or several.
type Statement struct {
	text   string
	reader Reader
	head   parts // which begin with the first
}

// Text is the text.
func (s Statement) Text() string { return s.text }

// First is the kind of the first part, Unknown if there is none.
func (s Statement) First() Kind {
	return s.head.part.kind
}

// Many reports whether there is more than one statement. A chain is one.
func (s Statement) Many() bool {
	ps := s.parts()
	for n := 0; ps.next(); n++ {
		if n > 0 && ps.part.semicolon {
			return true
		}
	}
	return false
}

// Steps reports whether it is carried out in several steps: statements, or links of a chain.
func (s Statement) Steps() bool {
	ps := s.parts()
	ps.next()
	return ps.next()
}

// Has reports whether a part is of the kind.
func (s Statement) Has(k Kind) bool {
	for ps := s.parts(); ps.next(); {
		if ps.part.kind == k {
			return true
		}
	}
	return false
}

// Repeatable reports whether running it twice on a living session is the same as
// running it once.
func (s Statement) Repeatable() bool {
	ok, read := false, false
	for ps := s.parts(); ps.next(); ok = true {
		p := ps.part
		if p.kind == Session && read { // a second run would read what the first has changed
			return false
		}
		if read = p.kind == Read; !read && p.kind != Session || !p.idempotent() {
			return false
		}
		if does := s.reader.walk(p); does.outside || does.reach > 0 || does.bound || does.variables && p.kind == Session {
			return false
		}
	}
	return ok
}

// UndoneByRollback reports whether a rollback, or the end of its session within a
// transaction, undoes all that it did.
func (s Statement) UndoneByRollback() bool {
	ok := false
	for ps := s.parts(); ps.next(); ok = true {
		if k := ps.part.kind; k != Read && k != DML || s.reader.walk(ps.part).outside {
			return false
		}
	}
	return ok
}

// AsksHistory reports whether its answer depends on the statements or transactions
// that its session ran before.
func (s Statement) AsksHistory() bool { return s.Reach() > 0 }

// Reach is how many of the statements before it its session is asked about: 1 for
// LAST_QUERY_ID(), 2 for RESULT_SCAN(-2), very many where it counts from the session's
// first or nobody knows, 0 where it asks for none. A bind in the place of a query ID is
// one that nobody knows.
func (s Statement) Reach() int {
	if reach, bound := s.reaches(); !bound {
		return reach
	}
	return beyond
}

// ReachWithIDs is Reach where each value that is bound is the ID of a query.
func (s Statement) ReachWithIDs() int {
	reach, _ := s.reaches()
	return reach
}

func (s Statement) reaches() (reach int, bound bool) {
	for ps := s.parts(); ps.next(); {
		does := s.reader.walk(ps.part)
		reach, bound = max(reach, does.reach), bound || does.bound
	}
	return reach, bound
}

// AsksVariables reports whether it reads variables of its session.
func (s Statement) AsksVariables() bool {
	for ps := s.parts(); ps.next(); {
		if s.reader.walk(ps.part).variables {
			return true
		}
	}
	return false
}

// EndsTransaction reports whether a part is COMMIT or ROLLBACK.
func (s Statement) EndsTransaction() bool { return s.has(verbCommit) || s.has(verbRollback) }

// Commits reports whether a part is COMMIT.
func (s Statement) Commits() bool { return s.has(verbCommit) }

// CommitsEarlier reports whether a COMMIT in it ends a transaction that was open before:
// no BEGIN of its own stands before it.
func (s Statement) CommitsEarlier() bool {
	for ps := s.parts(); ps.next(); {
		switch ps.part.verb {
		case verbBegin, verbStart:
			if ps.part.kind == Transaction {
				return false
			}
		case verbCommit:
			return true
		}
	}
	return false
}

// AllOrNothing reports whether an error of Snowflake's own means that it changed nothing:
// it is one part, and no more than a read, a session statement or BEGIN.
func (s Statement) AllOrNothing() bool {
	ps := s.parts()
	ps.next()
	p := ps.part
	begins := p.kind == Transaction && (p.verb == verbBegin || p.verb == verbStart)
	known := p.kind == Read || begins || p.kind == Session && p.verb != verbCreate
	return known && !ps.next()
}

// GoesWithSession reports whether nothing of it outlasts its session, and its answer does
// not depend on what that ran before.
func (s Statement) GoesWithSession() bool {
	ok := false
	for ps := s.parts(); ps.next(); ok = true {
		does := s.reader.walk(ps.part)
		if k := ps.part.kind; k != Read && k != Session || does.outside || does.reach > 0 || does.bound || ps.part.consumes() {
			return false
		}
	}
	return ok
}

// LeavesTransaction reports whether it adds nothing to an open transaction that outlasts
// the session, and does not end it.
func (s Statement) LeavesTransaction() bool {
	ok := false
	for ps := s.parts(); ps.next(); ok = true {
		p := ps.part
		switch {
		case p.kind != Read && p.kind != Session, s.reader.walk(p).outside:
			return false
		case p.verb == verbCreate, p.verb == verbAlter && p.mentions("AUTOCOMMIT"): // which commit
			return false
		}
	}
	return ok
}

// Scripts reports whether a part is unknown, and no CALL of a procedure, whose transactions
// end with it.
func (s Statement) Scripts() bool {
	for ps := s.parts(); ps.next(); {
		if p := ps.part; p.kind == Unknown && p.verb != verbCall {
			return true
		}
	}
	return false
}

// IsBegin reports whether the text is one BEGIN or START TRANSACTION and nothing else.
func (s Statement) IsBegin() bool { return s.is(verbBegin) || s.is(verbStart) }

// IsCommit reports whether the text is one COMMIT and nothing else.
func (s Statement) IsCommit() bool { return s.is(verbCommit) }

// IsRollback reports whether the text is one ROLLBACK and nothing else.
func (s Statement) IsRollback() bool { return s.is(verbRollback) }

// UndoneSinceBegin reports whether it begins a transaction that a rollback undoes, and
// does nothing else that lasts.
func (s Statement) UndoneSinceBegin() bool {
	begun := false
	for ps := s.parts(); ps.next(); {
		switch p := ps.part; {
		case p.kind == Transaction:
			begun = true
			if p.verb != verbBegin && p.verb != verbStart {
				return false
			}
		case p.kind != Read && (p.kind != DML || !begun), s.reader.walk(p).outside:
			return false
		}
	}
	return begun
}

// Counts reports whether the statement is answered with how many rows it affected: an
// INSERT, UPDATE, DELETE or MERGE, or a chain that ends with one.
func (s Statement) Counts() bool {
	counts := false
	for ps := s.parts(); ps.next(); {
		switch p := ps.part; p.verb {
		case verbInsert, verbUpdate, verbDelete, verbMerge:
			counts = true
		case verbWith:
			counts = p.kind == DML
		default:
			counts = false
		}
	}
	return counts && !s.Many()
}
