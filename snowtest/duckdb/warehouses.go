package duckdb

import (
	"context"
	"slices"

	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/snowtest"
)

// This file keeps warehouses, which are names here: nothing runs in them.

// warehouseStatement carries out CREATE, ALTER and DROP WAREHOUSE. What is created becomes
// current, as on an account.
func (w *work) warehouseStatement() (*snowtest.Result, error) {
	r := w.rewriter()
	verb := r.take().text
	replace := r.accept("OR") && r.accept("REPLACE")
	r.accept("WAREHOUSE")
	clause := r.accept("IF")
	r.accept("NOT")
	r.accept("EXISTS")
	name := r.objectName().name
	if r.err != nil {
		return nil, r.err
	}
	if verb == "DROP" {
		if err := r.end(); err != nil {
			return nil, err
		}
	}
	done := map[string]string{"CREATE": "Warehouse " + name + " successfully created.", "DROP": name + " successfully dropped.", "ALTER": executed}[verb]
	res := snowtest.Status(snowtest.KindDDL, done)
	if w.st.DescribeOnly {
		return describeOnly(res), nil
	}
	e := w.e
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.Index(e.warehouses, name)
	switch {
	case verb != "CREATE" && i < 0 && !clause && name != w.warehouse:
		return nil, domainNotExists("Warehouse", name)
	case verb == "CREATE" && i >= 0 && clause:
		return snowtest.Status(snowtest.KindDDL, name+" already exists, statement succeeded."), nil
	case verb == "CREATE" && i >= 0 && !replace:
		return nil, compileError("002002", "42710", "Object '%s' already exists.", name)
	case verb == "CREATE":
		if i < 0 {
			e.warehouses = append(e.warehouses, name)
		}
		w.warehouse, res.Warehouse = name, name
	case verb == "DROP" && i >= 0:
		e.warehouses = slices.Delete(e.warehouses, i, i+1)
	}
	return res, nil
}

// showWarehouses lists the warehouses that were created, and the session's.
func (w *work) showWarehouses(l *listing) *snowtest.Result {
	w.e.mu.Lock()
	list := slices.Clone(w.e.warehouses)
	w.e.mu.Unlock()
	if w.warehouse != "" && !slices.Contains(list, w.warehouse) {
		list = append(list, w.warehouse)
	}
	slices.Sort(list)
	var rows [][]*string
	for _, name := range list {
		if l.like != "" && !likeMatch(sqltext.Fold(l.like), name) {
			continue
		}
		current := "N"
		if name == w.warehouse {
			current = "Y"
		}
		rows = append(rows, texts(name, "STARTED", "N", current))
	}
	return textTable([]string{"name", "state", "is_default", "is_current"}, rows)
}

// showTablesAndViews carries out SHOW OBJECTS.
func (w *work) showTablesAndViews(ctx context.Context, l *listing) (*snowtest.Result, error) {
	tables, views := *l, *l
	tables.what, views.what = "TABLES", "VIEWS"
	first, err := w.showObjects(ctx, &tables)
	if err != nil {
		return nil, err
	}
	second, err := w.showObjects(ctx, &views)
	if err != nil {
		return nil, err
	}
	res := &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true, Rows: [][]*string{}}
	keep := []string{"created_on", "name", "database_name", "schema_name", "kind", "comment", "owner"}
	at := func(of *snowtest.Result, name string) int {
		return slices.IndexFunc(of.Columns, func(c snowtest.Column) bool { return c.Name == name })
	}
	for _, name := range keep {
		res.Columns = append(res.Columns, first.Columns[at(first, name)])
	}
	for _, of := range []*snowtest.Result{first, second} {
		for _, row := range of.Rows {
			var out []*string
			for _, name := range keep {
				if i := at(of, name); i >= 0 {
					out = append(out, row[i])
				} else {
					out = append(out, texts("VIEW")[0])
				}
			}
			res.Rows = append(res.Rows, out)
		}
	}
	slices.SortStableFunc(res.Rows, func(a, b []*string) int {
		return slices.Compare([]string{*a[2], *a[3], *a[1]}, []string{*b[2], *b[3], *b[1]})
	})
	return res, nil
}
