package duckdb

import (
	"context"
	"strconv"

	"github.com/snowtether/snowtether/snowtest"
)

func (w *work) setVariables(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	names, parenthesis := r.variableNames()
	r.expectOp("=")
	var values []string
	read := func() { values = append(values, r.argument()) }
	if parenthesis {
		r.bracketed("(", read)
	} else {
		read()
	}
	if len(values) != len(names) {
		r.fail(compileError("002213", "42601", "The number of variables and of values in SET differ."))
	}
	return w.status(r, snowtest.KindSCL, executed, func(*snowtest.Result) error {
		for i, name := range names {
			row, err := w.values(ctx, "SELECT system.main.typeof(v), CAST(v AS VARCHAR) FROM (SELECT "+values[i]+" AS v)")
			if err != nil {
				return err
			}
			if w.vars[name], err = variableLiteral(*row[0][0], row[0][1]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *rewriter) variableNames() (names []string, parenthesis bool) {
	parenthesis = r.acceptOp("(")
	r.list(func() { names = append(names, r.take().text) })
	if parenthesis {
		r.expectOp(")")
	}
	return names, parenthesis
}

// variableLiteral writes DuckDB's text of a value of one of its types as a literal.
func variableLiteral(typ string, v *string) (string, error) {
	switch {
	case v == nil:
		return "NULL", nil
	case typ == variantType:
		return "", unsupported("session variable of type VARIANT")
	case typ == "VARCHAR":
		return quoteString(*v), nil
	case typ != "DOUBLE" && isNumber(*v):
		return *v, nil
	}
	return "CAST(" + quoteString(*v) + " AS " + typ + ")", nil
}

func (w *work) unsetVariables() (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	names, _ := r.variableNames()
	return w.status(r, snowtest.KindSCL, executed, func(*snowtest.Result) error {
		for _, n := range names {
			delete(w.vars, n)
		}
		return nil
	})
}

func (w *work) showVariables(ctx context.Context, l *listing) (*snowtest.Result, error) {
	var rows [][]*string
	for _, name := range sortedKeys(w.vars) {
		value, err := w.values(ctx, "SELECT sf_text("+w.vars[name]+")")
		if err != nil {
			return nil, err
		}
		row := texts(strconv.FormatInt(w.info.ID, 10), name, "")
		row[2] = value[0][0]
		rows = append(rows, row)
	}
	return textTable([]string{"session_id", "name", "value"}, l.filtered(rows, 1)), nil
}
