package duckdb

import (
	"context"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

func (w *work) setVariables(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	names, parenthesis := r.variableNames()
	r.expectOp("=")
	read := r.parens
	if !parenthesis {
		read = func() string { return r.region(nil) }
	}
	text := read()
	return w.status(r, snowtest.KindSCL, executed, func(*snowtest.Result) error {
		columns, rows, err := query(ctx, w.conn, "SELECT "+text, false)
		if err != nil {
			return err
		}
		if len(columns) != len(names) || len(rows) != 1 {
			return compileError("002213", "42601", "The number of variables and of values in SET differ.")
		}
		for i, name := range names {
			if w.vars[name], err = variableLiteral(columns[i], rows[0][i]); err != nil {
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

func variableLiteral(c snowtest.Column, v *string) (string, error) {
	switch {
	case v == nil:
		return "NULL", nil
	case c.Type == "fixed":
		return *v, nil
	case c.Type == "real":
		return "CAST('" + *v + "' AS DOUBLE)", nil
	case c.Type == "boolean":
		return strconv.FormatBool(*v == "1"), nil
	case c.Type == "text":
		return quoteString(*v), nil
	case c.Type == "date":
		return "(DATE '1970-01-01' + " + parenthesized(*v) + ")", nil
	case c.Type == "binary":
		return "from_hex('" + *v + "')", nil
	case strings.HasPrefix(c.Type, "timestamp"):
		t, err := bindTime("TIMESTAMP_NTZ", strings.Replace(*v, ".", "", 1))
		return timestampLiteral(t, c.Type != "timestamp_ntz"), err
	}
	return "", unsupported("session variable of type %s", strings.ToUpper(c.Type))
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
