package duckdb

import (
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
	if r.err == nil && verb != "DROP" {
		r.i = len(r.toks) // its properties change nothing here
	}
	done := map[string]string{"CREATE": "Warehouse " + name + " successfully created.", "DROP": name + " successfully dropped.", "ALTER": executed}[verb]
	return w.status(r, snowtest.KindDDL, done, func(res *snowtest.Result) error {
		e := w.e
		e.mu.Lock()
		defer e.mu.Unlock()
		i := slices.Index(e.warehouses, name)
		switch {
		case verb != "CREATE" && i < 0 && !clause && name != w.warehouse:
			return domainNotExists("Warehouse", name)
		case verb == "CREATE" && i >= 0 && clause:
			*res = *snowtest.Status(snowtest.KindDDL, name+" already exists, statement succeeded.")
		case verb == "CREATE" && i >= 0 && !replace:
			return compileError("002002", "42710", "Object '%s' already exists.", name)
		case verb == "CREATE":
			if i < 0 {
				e.warehouses = append(e.warehouses, name)
			}
			w.warehouse, res.Warehouse = name, name
		case verb == "DROP" && i >= 0:
			e.warehouses = slices.Delete(e.warehouses, i, i+1)
		}
		return nil
	})
}

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
		current := pick(name == w.warehouse, "Y", "N")
		rows = append(rows, texts(name, "STARTED", "N", current))
	}
	return textTable([]string{"name", "state", "is_default", "is_current"}, rows)
}
