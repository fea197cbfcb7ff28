package duckdb

import (
	"context"
	"errors"
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
		return describeOnly(res), nil
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
	text := "CREATE "
	if f.replace {
		text += "OR REPLACE "
	}
	if f.temporary {
		text += "TEMPORARY "
	}
	return text
}

func (w *work) create(r *rewriter) *definition {
	var f createFlags
	if r.accept("OR") {
		f.replace = r.accept("REPLACE")
	}
	for {
		switch {
		case r.accept("TEMP", "TEMPORARY", "VOLATILE"):
			f.temporary = true
			continue
		case r.accept("LOCAL", "GLOBAL", "TRANSIENT", "SECURE"):
			continue
		}
		break
	}
	what := r.take()
	if what.word("FUNCTION") {
		return w.createFunction(r, f)
	}
	if !what.word("TABLE", "VIEW", "SCHEMA", "DATABASE", "SEQUENCE") {
		if what.kind == tWord {
			r.fail(unsupported("CREATE %s", what.text))
		} else {
			r.fail(r.unexpected(what))
		}
		return nil
	}
	if r.accept("IF") {
		f.ifNotExists = r.accept("NOT") && r.accept("EXISTS")
	}
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
	default:
		def, name = w.createDatabase(r, f)
	}
	if r.err != nil {
		return def
	}
	run := def.run
	def.run = func(ctx context.Context) error {
		err := run(ctx)
		if err == nil {
			made := name
			if what.text == "SCHEMA" {
				made.database = def.use.database
			}
			w.e.noteCreated(what.text, made, w.now)
		}
		return err
	}
	label := what.text[:1] + strings.ToLower(what.text[1:])
	short := name.name
	def.done = label + " " + short + " successfully created."
	if f.ifNotExists {
		def.exists = short + " already exists, statement succeeded."
	}
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
	if r.err == nil && err != nil {
		r.fail(err)
	}
	return full
}

func (w *work) createView(r *rewriter, f createFlags) (*definition, object) {
	name := w.createdName(r, f)
	text := f.head() + "VIEW " + name.sql()
	if r.peek().is("(") {
		text += " (" + strings.Join(r.columnNames(), ", ") + ")"
	}
	r.options()
	r.need("AS")
	r.deferred = true
	return &definition{run: w.statements(text + " AS " + r.region(nil))}, name
}

func (w *work) createSequence(r *rewriter, f createFlags) (*definition, object) {
	name := w.createdName(r, f)
	start, increment := "1", "1"
	for r.err == nil && r.peek().kind != tEOF {
		switch {
		case r.accept("START"):
			r.accept("WITH")
			r.acceptOp("=")
			start = r.integer()
		case r.accept("INCREMENT"):
			r.accept("BY")
			r.acceptOp("=")
			increment = r.integer()
		case r.accept("WITH", "ORDER", "NOORDER"), r.acceptOp(","):
		case r.accept("COMMENT"):
			r.acceptOp("=")
			r.i++
		default:
			r.fail(r.unexpected(r.peek()))
		}
	}
	return &definition{run: w.statements(f.head() + "SEQUENCE " + name.sql() + sequenceRange(start, increment))}, name
}

func sequenceRange(start, increment string) string {
	text := " START " + start + " INCREMENT " + increment
	if strings.HasPrefix(increment, "-") {
		return text + " MINVALUE -9223372036854775807 MAXVALUE 9223372036854775807"
	}
	if strings.HasPrefix(start, "-") || start == "0" {
		return text + " MINVALUE -9223372036854775807"
	}
	return text
}

func (r *rewriter) integer() string {
	sign := ""
	if r.acceptOp("-") {
		sign = "-"
	}
	t := r.take()
	if t.kind != tNumber || strings.ContainsAny(t.text, ".eE") {
		r.fail(r.unexpected(t))
	}
	return sign + t.text
}

func (w *work) createSchema(r *rewriter, f createFlags) (*definition, object) {
	name := r.schemaName()
	if name.database == "" {
		name.database = w.database
	}
	r.options()
	if r.err == nil && name.database == "" {
		_, err := name.in(w.session)
		r.fail(err)
	}
	statements := []string{"CREATE SCHEMA " + name.sql()}
	if f.replace {
		statements = []string{"DROP SCHEMA IF EXISTS " + name.sql() + " CASCADE", statements[0]}
	}
	return &definition{run: w.statements(statements...), use: &name}, object{name: name.schema}
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
			v := r.takeString()
			comment = v.text
		case t.word("CLUSTER") && r.at(1).word("BY"):
			r.i += 2
			r.expectOp("(")
			r.region(nil)
			r.expectOp(")")
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
	if what.word("FUNCTION") {
		return w.dropFunction(r)
	}
	if !what.word("TABLE", "VIEW", "SCHEMA", "DATABASE", "SEQUENCE") {
		r.fail(unsupported("DROP %s", what.text))
		return nil
	}
	def := &definition{}
	ifExists := r.ifExists()
	var name object
	short := ""
	switch what.text {
	case "SCHEMA":
		name = r.schemaName()
		if name.database == "" {
			name.database = w.database
		}
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
	default:
		name = r.objectName()
		short = name.name
		def.run = w.statements("DROP " + what.text + " " + name.sql())
	}
	r.accept("CASCADE", "RESTRICT")
	def.done = short + " successfully dropped."
	if ifExists {
		def.missing = "Drop statement executed successfully (" + short + " already dropped)."
	}
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

// comment reads COMMENT ON TABLE t IS '…' and COMMENT ON COLUMN t.c IS '…'.
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
		parts = append(parts, r.take())
		if !r.acceptOp(".") {
			break
		}
	}
	r.accept("IS")
	text := r.takeString()
	var names []string
	for _, p := range parts {
		names = append(names, quoteIdent(p.text))
	}
	def := &definition{done: executed}
	if ifExists {
		def.missing = executed
	}
	def.run = func(ctx context.Context) error {
		note := text.text
		switch {
		case what.text == "COLUMN" && len(parts) > 1:
			old, err := w.columnNote(ctx, parts)
			if err != nil {
				return err
			}
			note = joinNote(old, note)
		case what.text == "TABLE":
			note = joinNote(w.now.UTC().Format(timeNote), "", note)
		}
		_, err := exec(ctx, w.conn, "COMMENT ON "+what.text+" "+strings.Join(names, ".")+" IS "+quoteString(note))
		return err
	}
	return def
}

func hasCode(err error, code string) bool {
	var sf *snowtest.Error
	return errors.As(err, &sf) && sf.Code == code
}
