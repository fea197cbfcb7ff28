package large

import (
	"context"
	"database/sql/driver"
	"reflect"
	"sync"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file finds in gosnowflake's rows where they are. The fields are exported, the types are
// not. Rows of another gosnowflake, which has other ones, are left as they are, with its faults;
// TestContextMayEndAtTheLastRow fails then.

// A resultSet is where gosnowflake is in the rows of one result set. What is not its caller's
// alone is not looked at.
type resultSet struct {
	row, rows *int  // the number of the row that was read last, and of rows in the present part
	part      *int  // the number of the present part, from -1 on: what the reply brought
	parts     int   // to download
	total     int64 // rows, as Snowflake counts them
	done      *sync.Cond
	more      bool // result sets follow
}

// setOf is the result set that rows are at. Without parts to download, done is nil.
func setOf(rows driver.Rows) (s resultSet, ok bool) {
	v := reflect.Indirect(reflect.ValueOf(rows))
	in := fieldsOf(v, "ChunkDownloader")
	if in == nil {
		return s, false
	}
	v = v.Field(in[0])
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	at := fieldsOf(v, "NextDownloader", "ChunkMetas", "Total", "CurrentIndex", "CurrentChunkSize", "CurrentChunkIndex", "DoneDownloadCond")
	if at == nil || !v.CanAddr() {
		return s, false
	}
	if next := v.Field(at[0]); next.Kind() == reflect.Interface {
		s.more = !next.IsNil()
	}
	metas := v.Field(at[1])
	if metas.Kind() != reflect.Slice || metas.Len() == 0 {
		return s, metas.Kind() == reflect.Slice
	}
	total, ok := v.Field(at[2]).Interface().(int64)
	if !ok {
		return resultSet{}, false
	}
	s.parts, s.total = metas.Len(), total
	for i, to := range [...]**int{&s.row, &s.rows, &s.part} {
		if *to, ok = v.Field(at[3+i]).Addr().Interface().(*int); !ok {
			return resultSet{}, false
		}
	}
	s.done, ok = v.Field(at[6]).Interface().(*sync.Cond)
	return s, ok
}

// known has, of each type of struct that was seen, where its fields are: to look for them by
// name takes an allocation each.
var known sync.Map // reflect.Type → []int

// fieldsOf is where a struct has the exported fields of these names, or nil if it has not.
// One type is always asked for the same.
func fieldsOf(v reflect.Value, names ...string) []int {
	if v.Kind() != reflect.Struct {
		return nil
	}
	t := v.Type()
	if at, ok := known.Load(t); ok {
		return at.([]int)
	}
	at := make([]int, len(names))
	for i, name := range names {
		f, ok := t.FieldByName(name)
		if !ok || !f.IsExported() || len(f.Index) != 1 {
			at = nil
			break
		}
		at[i] = f.Index[0]
	}
	known.Store(t, at)
	return at
}

// batchesKey is the key under which gosnowflake finds in a context that rows are to come as
// Arrow batches, or nil. Its type is private: it is that of another key, which is in a context
// that gosnowflake makes.
var batchesKey = func() any {
	v := reflect.ValueOf(gosnowflake.WithHigherPrecision(context.Background()))
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	key := v.Elem().FieldByName("key")
	if key.Kind() != reflect.Interface || key.Elem().Kind() != reflect.String {
		return nil
	}
	return reflect.ValueOf("ARROW_BATCHES").Convert(key.Elem().Type()).Interface()
}()
