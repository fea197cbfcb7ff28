package duckdb

import (
	"context"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// setVariables carries out SET v = x and SET (v, w) = (x, y).
func (w *work) setVariables(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	var names []string
	text := ""
	if r.acceptOp("(") {
		for r.err == nil {
			names = append(names, r.take().text)
			if !r.acceptOp(",") {
				break
			}
		}
		r.expectOp(")")
		r.expectOp("=")
		r.expectOp("(")
		text = r.region(nil)
		r.expectOp(")")
	} else {
		names = []string{r.take().text}
		r.expectOp("=")
		text = r.region(nil)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	res := snowtest.Status(snowtest.KindSCL, executed)
	if w.st.DescribeOnly {
		return describeOnly(res), nil
	}
	columns, rows, err := query(ctx, w.conn, "SELECT "+text, false)
	if err != nil {
		return nil, err
	}
	if len(columns) != len(names) || len(rows) != 1 {
		return nil, compileError("002213", "42601", "The number of variables and of values in SET differ.")
	}
	for i, name := range names {
		if w.vars[name], err = variableLiteral(columns[i], rows[0][i]); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// variableLiteral writes a value of a result as a literal.
func variableLiteral(c snowtest.Column, v *string) (string, error) {
	switch {
	case v == nil:
		return "NULL", nil
	case c.Type == "fixed":
		return *v, nil
	case c.Type == "real":
		return "'" + *v + "'::DOUBLE", nil
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
	parenthesis := r.acceptOp("(")
	var names []string
	for r.err == nil {
		names = append(names, r.take().text)
		if !r.acceptOp(",") {
			break
		}
	}
	if parenthesis {
		r.expectOp(")")
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	res := snowtest.Status(snowtest.KindSCL, executed)
	if w.st.DescribeOnly {
		return describeOnly(res), nil
	}
	for _, n := range names {
		delete(w.vars, n)
	}
	return res, nil
}

func (w *work) showVariables(ctx context.Context) (*snowtest.Result, error) {
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
	return textTable([]string{"session_id", "name", "value"}, rows), nil
}
