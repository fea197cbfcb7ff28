package duckdb

import (
	"context"
	"strings"
)

// This file keeps the functions that clients define in SQL. A call is replaced by the
// function's body, its arguments in place of the parameters.

// A routine is a function of a schema.
type routine struct {
	name    object
	params  []*columnDef
	returns sfType
	table   []*columnDef // the columns of a table function
	body    string
}

func (w *work) createFunction(r *rewriter, f createFlags) (object, action) {
	o, err := r.objectName().in(w.session)
	r.fail(err)
	fn := &routine{name: o}
	fn.params = r.columnDefs()
	r.need("RETURNS")
	if r.accept("TABLE") {
		fn.table = r.columnDefs()
	} else if r.err == nil {
		fn.returns = r.dataType()
	}
	for r.err == nil && !r.accept("AS") {
		switch t := r.take(); {
		case t.word("LANGUAGE") && !r.peek().word("SQL"):
			r.fail(unsupported("CREATE FUNCTION in %s", r.peek().text))
		case t.kind == tEOF:
			r.fail(r.unexpected(t))
		case t.word("COMMENT"):
			r.acceptOp("=")
			r.take()
		}
	}
	fn.body = r.takeString().text
	for _, p := range append(fn.params, fn.table...) {
		if !p.typed || p.standard != "" {
			r.fail(unsupported("CREATE FUNCTION with a parameter that has no type, or a default"))
		}
	}
	return o, func(context.Context) error { return w.e.addRoutine(fn, f) }
}

// each applies a function to all of a list.
func each[T any](list []T, write func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = write(v)
	}
	return out
}

func pick(first bool, one, other string) string {
	if first {
		return one
	}
	return other
}

func (e *Engine) addRoutine(fn *routine, f createFlags) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := routineKey(fn.name, len(fn.params))
	if e.routines[key] != nil && !f.replace {
		return alreadyExists(fn.name.name)
	}
	e.routines[key] = fn
	return nil
}

// routineKey tells functions of one name apart by the number of their parameters.
func routineKey(o object, params int) string { return o.String() + strings.Repeat(",", params) }

func (w *work) dropFunction(r *rewriter, _ string) (object, action) {
	o, err := r.objectName().in(w.session)
	r.fail(err)
	n := 0
	r.bracketed("(", func() {
		r.dataType()
		n++
	})
	return o, func(context.Context) error {
		w.e.mu.Lock()
		defer w.e.mu.Unlock()
		if w.e.routines[routineKey(o, n)] == nil {
			return domainNotExists("Function", o.name)
		}
		delete(w.e.routines, routineKey(o, n))
		return nil
	}
}

func (s *session) routine(o object, params int) *routine {
	full, err := o.in(s)
	if err != nil {
		return nil
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.routines[routineKey(full, params)]
}

// maxCalls bounds how deep functions call each other.
const maxCalls = 16

func (r *rewriter) expand(fn *routine, args []string) string {
	if r.calls >= maxCalls {
		r.fail(unsupported("function %s that calls itself", fn.name.name))
		return ""
	}
	sub := newReader(r.s, fn.body)
	sub.now, sub.describe, sub.deferred, sub.calls, sub.hide, sub.params = r.now, r.describe, r.deferred, r.calls+1, true, map[string]string{}
	for i, p := range fn.params {
		sub.params[strings.ToUpper(p.name)] = p.typ.cast(args[i], false, false)
	}
	text := sub.region(nil)
	r.fail(sub.end())
	if fn.table == nil {
		return fn.returns.cast("("+text+")", false, false)
	}
	var names, items []string
	for _, c := range fn.table {
		names = append(names, quoteIdent(c.name))
		items = append(items, c.typ.cast(quoteIdent(c.name), false, false)+" AS "+quoteIdent(c.name))
	}
	return "(SELECT " + strings.Join(items, ", ") + " FROM (" + text + ") AS " + quoteIdent("body$") + "(" + strings.Join(names, ", ") + "))"
}
