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
	run     func(ctx context.Context) error
	done    string  // the status message
	exists  string  // the message if IF NOT EXISTS meets the object; empty without that clause
	missing string  // the message if IF EXISTS does not; empty without that clause
	use     *object // the database and schema that become current
}

const executed = "Statement executed successfully."

// ddl carries out CREATE, ALTER, DROP and COMMENT. As in Snowflake it commits an
// open transaction first and is a transaction of its own.
func (w *work) ddl(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	def := w.definition(r)
	if err := r.end(); err != nil {
		return nil, err
	}
	res := snowtest.Status(snowtest.KindDDL, def.done)
	if w.st.DescribeOnly {
		return w.shown(res), nil
	}
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	err := w.locked(ctx, func() error { return def.run(ctx) })
	w.e.definitions.Add(1)
	switch {
	case def.exists != "" && hasCode(err, "002002"):
		return snowtest.Status(snowtest.KindDDL, def.exists), nil
	case def.missing != "" && hasCode(err, "002003"):
		return snowtest.Status(snowtest.KindDDL, def.missing), nil
	case err != nil:
		return nil, err
	}
	if def.use != nil {
		w.database, w.schema = def.use.database, def.use.schema
		res.Database, res.Schema = w.database, w.schema
		if err := w.setPath(ctx); err != nil {
			return nil, err
		}
	}
	return res, nil
}

func (w *work) definition(r *rewriter) *definition {
	switch verb := r.take(); verb.text {
	case "CREATE":
		return w.create(r)
	case "DROP":
		return w.drop(r)
	case "ALTER":
		return w.alter(r)
	}
	return w.comment(r)
}

// statements makes a definition's run of DuckDB statements, which take effect
// together.
func (w *work) statements(texts ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		if len(texts) == 1 {
			_, err := exec(ctx, w.conn, texts[0])
			return err
		}
		return w.atomically(ctx, func() error {
			for _, t := range texts {
				if _, err := exec(ctx, w.conn, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// createFlags are the words between CREATE and what is created.
type createFlags struct{ replace, temporary, ifNotExists bool }

func (f createFlags) head() string {
	return "CREATE " + pick(f.replace, "OR REPLACE ", "") + pick(f.temporary, "TEMPORARY ", "")
}

func (w *work) create(r *rewriter) *definition {
	var f createFlags
	f.replace = r.accept("OR") && r.accept("REPLACE")
	for r.accept("TEMP", "TEMPORARY", "VOLATILE", "LOCAL", "GLOBAL", "TRANSIENT", "SECURE") {
		f.temporary = f.temporary || r.at(-1).word("TEMP", "TEMPORARY", "VOLATILE")
	}
	what := r.take()
	if what.kind != tWord {
		r.fail(r.unexpected(what))
	}
	if what.word("FILE") {
		r.need("FORMAT")
	}
	f.ifNotExists = r.accept("IF") && r.accept("NOT") && r.accept("EXISTS")
	var def *definition
	var name object
	switch what.text {
	case "TABLE":
		def, name = w.createTable(r, f)
	case "VIEW":
		def, name = w.createView(r, f)
	case "SEQUENCE":
		def, name = w.createSequence(r, f)
	case "SCHEMA":
		def, name = w.createSchema(r, f)
	case "DATABASE":
		def, name = w.createDatabase(r, f)
	case "FUNCTION":
		def, name = w.createFunction(r, f)
	case "STAGE", "FILE":
		def, name = w.createStage(r, f, what.word("FILE"))
	default:
		r.fail(unsupported("CREATE %s", what.text))
	}
	if r.err != nil {
		return def
	}
	run := def.run
	def.run = func(ctx context.Context) error {
		err := run(ctx)
		if err == nil {
			w.e.noteCreated(what.text, name, w.now)
			w.forgetFiles(what.text, name)
		}
		return err
	}
	label := what.text[:1] + strings.ToLower(what.text[1:])
	label += map[string]string{"STAGE": " area", "FILE": " format"}[what.text]
	short := name.name
	def.done = label + " " + short + " successfully created."
	def.exists = pick(f.ifNotExists, short+" already exists, statement succeeded.", "")
	return def
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

func (w *work) createView(r *rewriter, f createFlags) (*definition, object) {
	name := w.createdName(r, f)
	text := f.head() + "VIEW " + name.sql()
	if r.peek().is("(") {
		text += " (" + strings.Join(each(r.columnNames(), quoteIdent), ", ") + ")"
	}
	r.options()
	r.need("AS")
	r.deferred, r.hide = true, true
	return &definition{run: w.statements(text + " AS " + r.region(nil))}, name
}

func (w *work) createSequence(r *rewriter, f createFlags) (*definition, object) {
	name := w.createdName(r, f)
	series := r.series(true)
	r.options()
	return &definition{run: w.statements(f.head() + "SEQUENCE " + name.sql() + series)}, name
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
	text := " START " + start + " INCREMENT " + step
	if step[:1] == "-" {
		return text + " MINVALUE -9223372036854775807 MAXVALUE 9223372036854775807"
	}
	if start[:1] == "-" || start == "0" {
		return text + " MINVALUE -9223372036854775807"
	}
	return text
}

func (r *rewriter) integer() string {
	sign := pick(r.acceptOp("-"), "-", "")
	return sign + cmp.Or(r.takeIf(r.peek().whole()).text, "0")
}

func (w *work) createSchema(r *rewriter, f createFlags) (*definition, object) {
	name := r.schemaName()
	if name.database = cmp.Or(name.database, w.database); name.database == "" {
		_, err := name.in(w.session)
		r.fail(err)
	}
	r.options()
	statements := []string{"CREATE SCHEMA " + name.sql()}
	if f.replace {
		statements = []string{"DROP SCHEMA IF EXISTS " + name.sql() + " CASCADE", statements[0]}
	}
	return &definition{run: w.statements(statements...), use: &name}, object{database: name.database, name: name.schema}
}

// createDatabase attaches a database to the engine. It is outside of any
// transaction, as Snowflake's is.
func (w *work) createDatabase(r *rewriter, f createFlags) (*definition, object) {
	name := r.objectName()
	r.options()
	if name.schema != "" {
		r.fail(r.unexpected(r.at(-1)))
	}
	if w.e.fileDB != "" {
		r.fail(unsupported("CREATE DATABASE with a database file"))
	}
	db := name.name
	run := func(ctx context.Context) error {
		found, err := w.databaseExists(ctx, db)
		if err != nil {
			return err
		}
		if found && !f.replace {
			return compileError("002002", "42710", "Object '%s' already exists.", db)
		}
		if found {
			if err := w.detach(ctx, db); err != nil {
				return err
			}
		}
		return w.e.ensureDatabase(ctx, db, defaultSchema)
	}
	return &definition{run: run, use: &object{database: db, schema: defaultSchema}}, name
}

// detach drops a database. A session that uses it stays without one.
func (w *work) detach(ctx context.Context, db string) error {
	if w.database == db {
		w.database, w.schema = "", ""
		if err := w.setPath(ctx); err != nil {
			return err
		}
	}
	_, err := exec(ctx, w.conn, "DETACH "+quoteIdent(db))
	return err
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
	what := r.take()
	def := &definition{}
	if what.word("FILE") {
		r.need("FORMAT")
	}
	ifExists := r.ifExists()
	var name object
	short := ""
	switch what.text {
	case "SCHEMA":
		name = r.schemaName()
		name.database = cmp.Or(name.database, w.database)
		short = name.schema
		def.run = w.dropSchema(name)
	case "DATABASE":
		name = r.objectName()
		short = name.name
		def.run = func(ctx context.Context) error {
			found, err := w.databaseExists(ctx, short)
			if err != nil {
				return err
			}
			if !found {
				return domainNotExists("Database", short)
			}
			if w.e.fileDB != "" {
				return unsupported("DROP DATABASE with a database file")
			}
			return w.detach(ctx, short)
		}
	case "TABLE", "VIEW", "SEQUENCE":
		name = r.objectName()
		short = name.name
		def.run = w.statements("DROP " + what.text + " " + name.sql())
	case "FUNCTION":
		short, def.run = w.dropFunction(r)
	case "STAGE", "FILE":
		name = r.objectName()
		short = name.name
		label := map[string]string{"STAGE": "Stage", "FILE": "File format"}[what.text]
		def.run = func(ctx context.Context) error { return w.dropStage(ctx, name, label) }
	default:
		r.fail(unsupported("DROP %s", what.text))
	}
	r.accept("CASCADE", "RESTRICT")
	def.done = short + " successfully dropped."
	def.missing = pick(ifExists, "Drop statement executed successfully ("+short+" already dropped).", "")
	return def
}

func (w *work) dropSchema(name object) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := w.schemaExists(ctx, name)
		if err != nil {
			return err
		}
		if !found {
			return domainNotExists("Schema", name.String())
		}
		if _, err = exec(ctx, w.conn, "DROP SCHEMA "+name.sql()+" CASCADE"); err != nil {
			return err
		}
		if name.database == w.database && name.schema == w.schema {
			w.schema = ""
			return w.setPath(ctx)
		}
		return nil
	}
}

func (w *work) comment(r *rewriter) *definition {
	ifExists := r.ifExists()
	r.need("ON")
	what := r.take()
	if !what.word("TABLE", "COLUMN", "VIEW") {
		r.fail(unsupported("COMMENT ON %s", what.text))
		return nil
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
		_, err := exec(ctx, w.conn, "COMMENT ON "+what.text+" "+names+" IS "+quoteString(note))
		return err
	}
	return def
}

func hasCode(err error, code string) bool {
	var sf *snowtest.Error
	return errors.As(err, &sf) && sf.Code == code
}
