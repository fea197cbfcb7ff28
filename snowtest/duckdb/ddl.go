package duckdb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// A definition is a DDL statement, read and ready to be carried out.
type definition struct {
	run     action
	done    string // the status message
	exists  string // the message if IF NOT EXISTS meets the object; empty without that clause
	missing string // the message if IF EXISTS does not; empty without that clause
}

type action func(ctx context.Context) error

const executed = "Statement executed successfully."

// ddl carries out CREATE, ALTER, DROP, COMMENT and TRUNCATE. As in Snowflake it commits an
// open transaction first and is a transaction of its own.
func (w *work) ddl(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	def := w.definition(r)
	return w.status(r, snowtest.KindDDL, def.done, func(res *snowtest.Result) error {
		if err := w.commit(ctx); err != nil {
			return err
		}
		err := w.locked(ctx, func() error { return def.run(ctx) })
		w.e.definitions.Add(1)
		switch {
		case def.exists != "" && hasCode(err, "002002"):
			*res, err = *snowtest.Status(snowtest.KindDDL, def.exists), nil
		case def.missing != "" && hasCode(err, "002003"):
			*res, err = *snowtest.Status(snowtest.KindDDL, def.missing), nil
		}
		res.Database, res.Schema, res.Warehouse = w.database, w.schema, w.warehouse
		return err
	})
}

func (w *work) definition(r *rewriter) *definition {
	switch verb := r.take(); verb.text {
	case "CREATE":
		return w.create(r)
	case "DROP":
		return w.drop(r)
	case "ALTER":
		return w.alter(r)
	case "TRUNCATE":
		return w.truncate(r)
	}
	return w.comment(r)
}

// statements are carried out as one: they take effect together.
func (w *work) statements(texts ...string) action {
	return func(ctx context.Context) error {
		return w.atomically(ctx, func() error { return w.execute(ctx, texts...) })
	}
}

// An objectKind is a sort of objects that statements make and drop.
type objectKind struct {
	label  string // in messages
	create func(w *work, r *rewriter, f createFlags) (object, action)
	drop   func(w *work, r *rewriter, what string) (object, action)
}

var objectKinds = map[string]objectKind{
	"TABLE": {"Table", (*work).createTable, (*work).dropRelation}, "VIEW": {"View", (*work).createView, (*work).dropRelation},
	"SEQUENCE": {"Sequence", (*work).createSequence, (*work).dropRelation}, "FUNCTION": {"Function", (*work).createFunction, (*work).dropFunction},
	"SCHEMA": {"Schema", (*work).createSchema, (*work).dropSchema}, "DATABASE": {"Database", (*work).createDatabase, (*work).dropDatabase},
	"STAGE": {"Stage area", (*work).createStage, (*work).dropStage}, "FILE": {"File format", (*work).createStage, (*work).dropStage},
	"WAREHOUSE": {"Warehouse", (*work).createWarehouse, (*work).dropWarehouse},
}

// objectKind reads what a statement makes or drops.
func (r *rewriter) objectKind(verb string) (what string, kind objectKind) {
	t := r.takeIf(r.peek().kind == tWord)
	kind, ok := objectKinds[t.text]
	if !ok {
		r.fail(unsupported("%s %s", verb, t.text))
	}
	if t.word("FILE") {
		r.need("FORMAT")
	}
	return t.text, kind
}

// createFlags are the words between CREATE and what is created.
type createFlags struct {
	what                            string
	replace, temporary, ifNotExists bool
}

func (f createFlags) head() string {
	return "CREATE " + pick(f.replace, "OR REPLACE ", "") + pick(f.temporary, "TEMPORARY ", "")
}

func (w *work) create(r *rewriter) *definition {
	var f createFlags
	f.replace = r.accept("OR") && r.accept("REPLACE")
	for r.accept("TEMP", "TEMPORARY", "VOLATILE", "LOCAL", "GLOBAL", "TRANSIENT", "SECURE") {
		f.temporary = f.temporary || r.at(-1).word("TEMP", "TEMPORARY", "VOLATILE")
	}
	what, kind := r.objectKind("CREATE")
	f.what, f.ifNotExists = what, r.accept("IF") && r.accept("NOT") && r.accept("EXISTS")
	if r.err != nil {
		return &definition{}
	}
	name, run := kind.create(w, r, f)
	return &definition{
		done:   kind.label + " " + name.name + " successfully created.",
		exists: pick(f.ifNotExists, name.name+" already exists, statement succeeded.", ""),
		run: func(ctx context.Context) error {
			if err := run(ctx); err != nil {
				return err
			}
			w.e.noteCreated(what, name, w.now)
			w.forgetFiles(what, name)
			switch what {
			case "SCHEMA":
				return w.moveTo(ctx, object{database: name.database, schema: name.name})
			case "DATABASE":
				return w.moveTo(ctx, object{database: name.name})
			}
			return nil
		},
	}
}

// createdName completes the name of something new. A temporary object has no
// schema in DuckDB: it belongs to the connection.
func (w *work) createdName(r *rewriter, f createFlags) object {
	o := r.objectName()
	if f.temporary {
		return object{name: o.name}
	}
	full, err := o.in(w.session)
	r.fail(err)
	return full
}

func (w *work) createView(r *rewriter, f createFlags) (object, action) {
	name := w.createdName(r, f)
	text := f.head() + "VIEW " + name.sql()
	if r.peek().is("(") {
		text += " (" + strings.Join(each(r.columnNames(), quoteIdent), ", ") + ")"
	}
	r.options()
	r.need("AS")
	r.deferred, r.hide = true, true
	return name, w.statements(text + " AS " + r.region(nil))
}

func (w *work) createSequence(r *rewriter, f createFlags) (object, action) {
	name := w.createdName(r, f)
	series := r.series(true)
	r.options()
	return name, w.statements(f.head() + "SEQUENCE " + name.sql() + series)
}

// series reads START n INCREMENT n, or (n, n), for DuckDB. In CREATE SEQUENCE a comma may
// stand between them.
func (r *rewriter) series(commas bool) string {
	start, step := "1", "1"
	if r.acceptOp("(") {
		if start = r.integer(); r.acceptOp(",") {
			step = r.integer()
		}
		r.expectOp(")")
	}
	for r.accept("START", "INCREMENT", "WITH", "ORDER", "NOORDER") || commas && r.acceptOp(",") {
		if word := r.at(-1); word.word("START", "INCREMENT") {
			r.accept("WITH", "BY")
			r.acceptOp("=")
			if n := r.integer(); word.word("START") {
				start = n
			} else {
				step = n
			}
		}
	}
	return " START " + start + " INCREMENT " + step + " MINVALUE -9223372036854775807 MAXVALUE 9223372036854775807"
}

func (r *rewriter) integer() string {
	sign := pick(r.acceptOp("-"), "-", "")
	return sign + cmp.Or(r.takeIf(r.peek().whole()).text, "0")
}

func (w *work) createSchema(r *rewriter, f createFlags) (object, action) {
	name := r.schemaName()
	r.options()
	statements := []string{"CREATE SCHEMA " + name.sql()}
	if f.replace {
		statements = []string{"DROP SCHEMA IF EXISTS " + name.sql() + " CASCADE", statements[0]}
	}
	return object{database: name.database, name: name.schema}, w.statements(statements...)
}

// createDatabase attaches a database to the engine. It is outside of any
// transaction, as Snowflake's is.
func (w *work) createDatabase(r *rewriter, f createFlags) (object, action) {
	name := r.objectName()
	r.options()
	if name.schema != "" {
		r.fail(r.unexpected(r.at(-1)))
	}
	if w.e.fileDB != "" {
		r.fail(unsupported("CREATE DATABASE with a database file"))
	}
	return name, func(ctx context.Context) error {
		found, err := w.exists(ctx, object{database: name.name})
		if found && !f.replace {
			err = alreadyExists(name.name)
		}
		if found && err == nil {
			err = w.detach(ctx, name.name)
		}
		if err != nil {
			return err
		}
		return w.e.ensureDatabase(ctx, name.name, defaultSchema)
	}
}

// detach drops a database. A session that uses it stays without one.
func (w *work) detach(ctx context.Context, db string) error {
	if w.database == db {
		w.database, w.schema = "", ""
		if err := w.setPath(ctx); err != nil {
			return err
		}
	}
	return w.execute(ctx, "DETACH "+quoteIdent(db))
}

// options skips what has no meaning here: COMMENT, retention, clustering and
// other properties of the form NAME = value. It gives the comment.
func (r *rewriter) options() (comment string) {
	for r.err == nil {
		switch t := r.peek(); {
		case t.word("COMMENT"):
			r.i++
			r.acceptOp("=")
			comment = r.takeString().text
		case t.word("CLUSTER") && r.at(1).word("BY"):
			r.i += 2
			r.parens()
		case t.word("COPY") && r.at(1).word("GRANTS"), t.word("WITH") && r.at(1).word("MANAGED"):
			r.i += 2
			r.accept("ACCESS")
		case t.kind == tWord && knownOptions[t.text] && r.at(1).is("="):
			r.i += 3
		default:
			return comment
		}
	}
	return comment
}

var knownOptions = wordSet(`DATA_RETENTION_TIME_IN_DAYS MAX_DATA_EXTENSION_TIME_IN_DAYS CHANGE_TRACKING DEFAULT_DDL_COLLATION
	ENABLE_SCHEMA_EVOLUTION`)

func (w *work) drop(r *rewriter) *definition {
	what, kind := r.objectKind("DROP")
	ifExists := r.ifExists()
	if r.err != nil {
		return &definition{}
	}
	name, run := kind.drop(w, r, what)
	r.accept("CASCADE", "RESTRICT")
	missing := pick(ifExists, "Drop statement executed successfully ("+name.name+" already dropped).", "")
	return &definition{run: run, done: name.name + " successfully dropped.", missing: missing}
}

func (w *work) dropRelation(r *rewriter, what string) (object, action) {
	name := r.objectName()
	return name, w.statements("DROP " + what + " " + name.sql())
}

func (w *work) dropDatabase(r *rewriter, _ string) (object, action) {
	name := r.objectName()
	return name, func(ctx context.Context) error {
		if err := w.mustExist(ctx, object{database: name.name}, domainNotExists("Database", name.name)); err != nil {
			return err
		}
		if w.e.fileDB != "" {
			return unsupported("DROP DATABASE with a database file")
		}
		return w.detach(ctx, name.name)
	}
}

func (w *work) dropSchema(r *rewriter, _ string) (object, action) {
	name := r.schemaName()
	return object{database: name.database, name: name.schema}, func(ctx context.Context) error {
		if err := w.mustExist(ctx, name, domainNotExists("Schema", name.String())); err != nil {
			return err
		}
		if err := w.execute(ctx, "DROP SCHEMA "+name.sql()+" CASCADE"); err != nil {
			return err
		}
		if name.database == w.database && name.schema == w.schema {
			w.schema = ""
		}
		return w.setPath(ctx)
	}
}

func (w *work) truncate(r *rewriter) *definition {
	r.accept("TABLE")
	missing := pick(r.ifExists(), executed, "")
	name := r.objectName()
	return &definition{done: executed, missing: missing, run: func(ctx context.Context) error {
		if key, err := w.tableStage(name); err == nil {
			w.e.files.Unload(key)
		}
		return w.execute(ctx, "TRUNCATE "+name.sql())
	}}
}

func (w *work) comment(r *rewriter) *definition {
	ifExists := r.ifExists()
	r.need("ON")
	what := r.take()
	if !what.word("TABLE", "COLUMN", "VIEW") {
		r.fail(unsupported("COMMENT ON %s", what.text))
		return &definition{}
	}
	var parts []token
	for r.err == nil {
		if parts = append(parts, r.takeName()); !r.acceptOp(".") {
			break
		}
	}
	r.need("IS")
	text := r.takeString()
	names := joinName(parts)
	def := &definition{done: executed, missing: pick(ifExists, executed, "")}
	def.run = func(ctx context.Context) error {
		note := text.text
		switch {
		case what.text == "COLUMN" && len(parts) > 1:
			columns, err := w.columns(ctx, objectOf(parts[:len(parts)-1]))
			if err != nil {
				return err
			}
			last := parts[len(parts)-1].text
			i := slices.IndexFunc(columns, func(c column) bool { return c.name == last })
			if i < 0 {
				return compileError("000904", "42000", "invalid identifier '%s'", last)
			}
			note = joinNote(columns[i].declared(), note)
		case what.text == "TABLE":
			note = joinNote(w.now.UTC().Format(timeNote), "", note)
		}
		return w.execute(ctx, "COMMENT ON "+what.text+" "+names+" IS "+quoteString(note))
	}
	return def
}

func hasCode(err error, code string) bool {
	var sf *snowtest.Error
	return errors.As(err, &sf) && sf.Code == code
}
