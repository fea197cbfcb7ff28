package duckdb

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file asks DuckDB's catalog what there is.

func (s *session) values(ctx context.Context, text string) ([][]*string, error) {
	_, rows, err := query(ctx, s.conn, text, false)
	return rows, err
}

// exists reports whether there is such a database or, if one is named, such a schema in it.
func (s *session) exists(ctx context.Context, o object) (bool, error) {
	text := "SELECT 1 FROM duckdb_schemas() WHERE database_name = " + quoteString(o.database) + " AND database_name NOT IN (" + hiddenDatabases + ")"
	rows, err := s.values(ctx, text+pick(o.schema != "", " AND schema_name = "+quoteString(o.schema), ""))
	return len(rows) > 0, err
}

// mustExist gives the error missing if there is no such database or schema.
func (s *session) mustExist(ctx context.Context, o object, missing error) error {
	found, err := s.exists(ctx, o)
	if err == nil && !found {
		err = missing
	}
	return err
}

var errNoObject = compileError("002043", "02000", "Object does not exist, or operation cannot be performed.")

// hiddenDatabases are DuckDB's own and the engine's.
const hiddenDatabases = "'memory', 'temp', 'system', '" + macroDatabase + "'"

// A column is one column of a table in DuckDB's catalog.
type column struct {
	name, dataType, standard, note string
	nullable, rest                 bool
	table                          object
	typ                            sfType // of no base, if only DuckDB has it
}

// columns lists the columns of a table or view. They are remembered until some session
// carries out DDL: nearly each statement asks for them.
func (s *session) columns(ctx context.Context, o object) ([]column, error) {
	if at := s.e.definitions.Load(); s.known == nil || s.knownAt != at {
		s.known, s.knownAt = map[[2]object][]column{}, at
	}
	full, err := o.in(s)
	if err != nil {
		return nil, err
	}
	key := [2]object{o, full} // a temporary table is found by its bare name only
	if list, ok := s.known[key]; ok {
		return list, nil
	}
	list, err := s.readColumns(ctx, o, full)
	if err == nil && !s.inTx { // a transaction may see an older catalog
		s.known[key] = list
	}
	return list, err
}

func (s *session) readColumns(ctx context.Context, o, full object) ([]column, error) {
	where := "database_name = " + quoteString(full.database) + " AND schema_name = " + quoteString(full.schema) + " AND table_name = " + quoteString(full.name)
	if o.schema == "" {
		temp, err := s.columnsWhere(ctx, "database_name = 'temp' AND table_name = "+quoteString(o.name))
		if err != nil || len(temp) > 0 {
			return temp, err
		}
	}
	columns, err := s.columnsWhere(ctx, where)
	if err == nil && len(columns) == 0 {
		return nil, compileError("002003", "42S02", "Object '%s' does not exist or not authorized.", o)
	}
	return columns, err
}

// otherCase reports whether there is a table or view whose name differs in case only. DuckDB
// would take it.
func (s *session) otherCase(o object) bool {
	full, err := o.in(s)
	rows, qerr := s.values(context.Background(), "SELECT 1 FROM duckdb_columns() WHERE (database_name = "+quoteString(full.database)+" AND schema_name ILIKE "+quoteString(full.schema)+
		" OR database_name = 'temp') AND table_name ILIKE "+quoteString(o.name)+" LIMIT 1")
	return err == nil && qerr == nil && len(rows) > 0
}

func (s *session) columnsWhere(ctx context.Context, where string) ([]column, error) {
	rows, err := s.values(ctx, `SELECT column_name, data_type, column_default, comment, is_nullable, database_name, schema_name, table_name
		FROM duckdb_columns() WHERE NOT internal AND `+where+` ORDER BY database_name, schema_name, table_name, column_index`)
	if err != nil {
		return nil, err
	}
	var out []column
	for _, r := range rows {
		if isRest(*r[0]) {
			if i := slices.IndexFunc(out, func(c column) bool { return restName(c.name) == *r[0] && c.table == object{*r[5], *r[6], *r[7]} }); i >= 0 {
				out[i].rest = true
			}
			continue
		}
		c := column{name: *r[0], dataType: *r[1], nullable: *r[4] == "1", table: object{*r[5], *r[6], *r[7]}}
		if r[2] != nil && *r[2] != "NULL" {
			c.standard = *r[2]
		}
		if r[3] != nil {
			c.note = *r[3]
		}
		c.typ = newReader(s, c.typeName()).dataType()
		out = append(out, c)
	}
	return out, nil
}

func (c column) declared() string { return strings.Split(c.note, noteSeparator)[0] }

func (c column) comment() string {
	if _, text, ok := strings.Cut(c.note, noteSeparator); ok {
		return text
	}
	return ""
}

func (c column) length() (int, bool) {
	text, ok := strings.CutPrefix(c.declared(), "VARCHAR(")
	n, err := strconv.Atoi(strings.TrimSuffix(text, ")"))
	return n, ok && err == nil
}

// castDefault is what a default that is a cast has become.
var castDefault = regexp.MustCompile(`^sf_(?:date|time|timestamp|timestamptz|whole)\((.*)\)$`)

func (c column) defaultText() string {
	if c.standard == "CAST(now() AS TIMESTAMP WITH TIME ZONE)" {
		return "CURRENT_TIMESTAMP()"
	}
	return castDefault.ReplaceAllString(c.standard, "CAST($1 AS "+c.typeName()+")")
}

func (c column) typeName() string {
	if d := c.declared(); d != "" {
		return d
	}
	switch {
	case strings.HasPrefix(c.dataType, "DECIMAL"):
		return "NUMBER" + strings.TrimPrefix(c.dataType, "DECIMAL")
	case c.dataType == variantType:
		return "VARIANT"
	}
	return cmp.Or(describedTypes[c.dataType], c.dataType)
}

// describedTypes are DuckDB's types in the words of DESCRIBE TABLE, where these differ.
var describedTypes = map[string]string{
	"VARCHAR": "VARCHAR(16777216)", "BLOB": "BINARY(8388608)", "DOUBLE": "FLOAT", "TIME": "TIME(9)",
	"INTEGER": "NUMBER(10,0)", "BIGINT": "NUMBER(19,0)", "HUGEINT": "NUMBER(38,0)",
	"TIMESTAMP": "TIMESTAMP_NTZ(9)", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ(9)",
}

func (c column) typeJSON() string {
	name, args, _ := strings.Cut(strings.TrimSuffix(c.typeName(), ")"), "(")
	info := map[string]any{"nullable": c.nullable, "type": name}
	first, second, two := strings.Cut(args, ",")
	n, _ := strconv.Atoi(first)
	m, _ := strconv.Atoi(second)
	switch {
	case name == "NUMBER" && two:
		info["type"], info["precision"], info["scale"] = "FIXED", n, m
	case name == "VARCHAR":
		info["type"], info["length"], info["byteLength"], info["fixed"] = "TEXT", n, min(4*n, maxText), false
	case name == "BINARY":
		info["length"], info["byteLength"], info["fixed"] = n, n, false
	case name == "FLOAT":
		info["type"] = "REAL"
	case args != "":
		info["precision"], info["scale"] = 0, n
	}
	text, err := json.Marshal(info)
	if err != nil {
		return name
	}
	return string(text)
}
