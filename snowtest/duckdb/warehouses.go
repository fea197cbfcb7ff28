package duckdb

import (
	"context"
	"slices"

	"github.com/snowtether/snowtether/snowtest"
)

// This file keeps warehouses, which are names here: nothing runs in them.

// createWarehouse makes a warehouse, which becomes current, as on an account.
func (w *work) createWarehouse(r *rewriter, f createFlags) (object, action) {
	o := r.objectName()
	r.i = len(r.toks) // its properties change nothing here
	return o, func(context.Context) error {
		w.e.mu.Lock()
		defer w.e.mu.Unlock()
		if !slices.Contains(w.e.warehouses, o.name) {
			w.e.warehouses = append(w.e.warehouses, o.name)
		} else if !f.replace {
			return alreadyExists(o.name)
		}
		w.warehouse = o.name
		return nil
	}
}

func (w *work) dropWarehouse(r *rewriter, _ string) (object, action) {
	o := r.objectName()
	return o, w.alterWarehouse(o.name, true)
}

// alterWarehouse drops a warehouse, or leaves it as it is. That which a session uses does exist.
func (w *work) alterWarehouse(name string, drop bool) action {
	return func(context.Context) error {
		w.e.mu.Lock()
		defer w.e.mu.Unlock()
		if !slices.Contains(w.e.warehouses, name) && name != w.warehouse {
			return domainNotExists("Warehouse", name)
		}
		w.e.warehouses = slices.DeleteFunc(w.e.warehouses, func(n string) bool { return drop && n == name })
		return nil
	}
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
		rows = append(rows, texts(name, "STARTED", "N", pick(name == w.warehouse, "Y", "N")))
	}
	return textTable([]string{"name", "state", "is_default", "is_current"}, l.filtered(rows, 0))
}
