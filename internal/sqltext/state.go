package sqltext

import "strings"

// A State is what a connection's own statements have made of its session. The zero
// value is the state after a login.
type State struct {
	InTx          bool // a transaction may be open
	Sure          bool // one certainly is
	Changed       bool // USE, ALTER SESSION, SET, temporary objects: a new session lacks it
	AutocommitOff bool // then the first DML begins a transaction
	Lost          Loss // what Changed is about
}

// A Loss is a set of the kinds of state that a session has.
type Loss uint8

const (
	LossRole       Loss = 1 << iota // USE ROLE
	LossContext                     // USE and CREATE of a database, schema or warehouse
	LossVariables                   // SET, UNSET
	LossParameters                  // ALTER SESSION
	LossTemporary                   // temporary objects
	LossUnknown                     // what nobody knows
)

// String names the kinds, for a message, without values.
func (l Loss) String() string {
	var list []string
	switch l & (LossRole | LossContext) {
	case LossRole:
		list = append(list, "its current role")
	case LossContext:
		list = append(list, "its current database, schema or warehouse")
	case LossRole | LossContext:
		list = append(list, "its current role, database, schema or warehouse")
	}
	for _, kind := range [...]struct {
		bit  Loss
		name string
	}{
		{LossVariables, "its variables"},
		{LossParameters, "its parameters"},
		{LossTemporary, "temporary objects"},
		{LossUnknown, "what procedures and scripts have set"},
	} {
		if l&kind.bit != 0 {
			list = append(list, kind.name)
		}
	}
	if last := len(list) - 1; last > 0 {
		return strings.Join(list[:last], ", ") + " and " + list[last]
	}
	return strings.Join(list, "")
}

// After is what the statement makes of its session, part by part. One that failed may
// have been carried out in part: then what it may have begun counts as begun, but not
// surely, and what it should have ended as not ended. A text of one part is judged by its
// first words.
func (s Statement) After(st State, failed bool) State {
	sure := st.Sure
	for ps := s.parts(); ps.next(); {
		st.part(ps.part, failed)
	}
	if failed {
		st.Sure = sure
	}
	return st
}

func (st *State) part(p part, failed bool) {
	switch p.kind {
	case Unknown: // a procedure does not end a transaction that it did not begin
		st.change(LossUnknown)
		st.InTx = st.InTx || st.AutocommitOff
	case DML:
		st.write(p)
	case Transaction:
		switch {
		case p.verb == verbBegin, p.verb == verbStart:
			st.InTx, st.Sure = true, true
		case !failed:
			st.InTx, st.Sure = false, false
		}
	case DDL: // it commits what is open
		st.Sure = false
		if p.current {
			st.change(LossContext)
		}
	case Session:
		st.session(p, failed)
	}
}

// write is DML, which begins a transaction where AUTOCOMMIT is off. What is half DDL may
// end one.
func (st *State) write(p part) {
	switch {
	case p.verb == verbRemove:
	case p.verb == verbTruncate: // DDL too
		st.InTx, st.Sure = st.InTx || st.AutocommitOff, false
	case p.verb == verbCopy && unloads(p.body):
		st.InTx = st.InTx || st.AutocommitOff
	case st.AutocommitOff:
		st.InTx, st.Sure = true, true
	}
}

func (st *State) change(l Loss) {
	st.Changed = true
	st.Lost |= l
}

func (st *State) session(p part, failed bool) {
	switch p.verb {
	case verbUse:
		if next := p.body.Peek(); next.Word("ROLE") || next.Word("SECONDARY") {
			st.change(LossRole)
		} else {
			st.change(LossContext)
		}
	case verbSet, verbUnset:
		st.change(LossVariables)
	case verbCreate: // DDL too
		st.change(LossTemporary)
		st.Sure = false
	case verbAlter:
		st.change(LossParameters)
		st.autocommit(p.body, failed)
	}
}

// autocommit looks for AUTOCOMMIT in ALTER SESSION SET a = b …: all but TRUE and 1 may
// be off. One that failed may have switched it off, but is not trusted to have
// switched it on.
func (st *State) autocommit(sc Scanner, failed bool) {
	sc.Next() // SESSION
	unset := sc.Next().Word("UNSET")
	for t := sc.Next(); !separates(t); t = sc.Next() {
		if t.names("AUTOCOMMIT") {
			value := sc
			off := unset || !value.Next().Is("=") || !isOn(value.Next()) // UNSET makes it what the user's or the account's is
			st.AutocommitOff = off || failed && st.AutocommitOff
			st.Sure = false // it may have committed what is open
		}
	}
}

func isOn(t Token) bool {
	on := strings.Trim(t.Text, "'")
	return equalFold(on, "TRUE") || on == "1"
}
