package duckdb

import (
	"cmp"
	"context"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/internal/stagefiles"
)

// This file is the stages: what makes, shows and drops them and file formats, and PUT, GET,
// LIST and REMOVE. Their files are in memory and go with the engine.

// A location is a stage with a path, as a statement names it.
type location struct {
	stage stagefiles.Key
	path  string
}

func (o object) key() stagefiles.Key { return stagefiles.Key{o.database, o.schema, o.name} }

// isStage reports whether a token begins the name of a stage.
func (t token) isStage() bool {
	return t.is("@") || t.kind == tString && strings.HasPrefix(t.text, "@")
}

// location reads @stage/path, with quotes around it or without.
func (r *rewriter) location() location {
	t := r.take()
	text := t.text
	if t.is("@") {
		sc := sqltext.NewScanner(r.src[t.start:])
		for text = sc.Next().Text; r.peek().start < t.start+len(text); {
			r.i++
		}
	} else if !t.isStage() {
		r.fail(r.unexpected(t))
		return location{}
	}
	var loc location
	name, quoted := text[1:], false
	if end := strings.IndexFunc(name, func(c rune) bool { quoted = quoted != (c == '"'); return c == '/' && !quoted }); end >= 0 {
		name, loc.path = name[:end], strings.TrimLeft(name[end:], "/")
	}
	if name == "~" {
		loc.stage = stagefiles.UserStage(r.s.info.User)
		return loc
	}
	o := r.identified(quoteString(strings.Replace(name, "%", "", 1)))
	if r.err != nil {
		return loc
	}
	var err error
	if strings.Contains(name, "%") {
		loc.stage, err = r.s.tableStage(o)
	} else {
		loc.stage, err = r.s.made(o, false)
	}
	if err == nil && !loc.stage.Always() && r.s.e.files.Settings(loc.stage, false) == nil {
		err = domainNotExists("Stage", object{loc.stage[0], loc.stage[1], loc.stage[2]}.String())
	}
	r.fail(err)
	return loc
}

// made gives the key of a stage or a file format: the session's own, if it has one of that name.
func (s *session) made(o object, format bool) (stagefiles.Key, error) {
	full, err := o.in(s)
	if own := stagefiles.Temporary(s.info.ID, full.String()); s.e.files.Settings(own, format) != nil {
		return own, err
	}
	return full.key(), err
}

// tableStage gives the key of a table's stage.
func (s *session) tableStage(table object) (stagefiles.Key, error) {
	columns, err := s.columns(context.Background(), table)
	if err == nil && columns[0].table.database == "temp" {
		return stagefiles.Temporary(s.info.ID, "%"+table.name), nil
	}
	full, inErr := table.in(s)
	if err == nil {
		err = inErr
	}
	full.name = "%" + full.name
	return full.key(), err
}

// forgetFiles is called when an object was made: what was staged for one of that name is gone.
func (s *session) forgetFiles(kind string, o object) {
	s.e.files.Forget(func(k stagefiles.Key) bool {
		switch kind {
		case "TABLE":
			return k == object{o.database, o.schema, "%" + o.name}.key() || o.schema == "" && k == stagefiles.Temporary(s.info.ID, "%"+o.name)
		case "SCHEMA":
			return k[0] == o.database && k[1] == o.name
		}
		return kind == "DATABASE" && k[0] == o.name
	})
}

// moveFiles is called when a table was renamed: its stage, and what was loaded into it, stay its own.
func (s *session) moveFiles(from, to object) error {
	was, err := from.in(s)
	if err == nil {
		to, err = to.in(s)
	}
	was.name, to.name = "%"+was.name, "%"+to.name
	s.e.files.Move(was.key(), to.key())
	return err
}

// settings reads options. Only those of known are taken; nil takes all.
func (r *rewriter) settings(known map[string]bool) stagefiles.Settings {
	set := stagefiles.Settings{}
	for r.err == nil && r.peek().kind == tWord && (r.at(1).is("=") || r.at(1).is("=>")) {
		name := r.take().text
		r.i++
		if known != nil && !known[name] {
			r.fail(unsupported("option %s", name))
		}
		set[name] = r.setting()
		r.acceptOp(",")
	}
	return set
}

func (r *rewriter) setting() (v stagefiles.Setting) {
	switch t := r.take(); {
	case t.is("(") && r.peek().kind == tWord && r.at(1).is("="):
		v.Inner = r.settings(nil)
		r.expectOp(")")
	case t.is("("):
		for v.List = []string{}; r.err == nil && !r.acceptOp(")"); r.acceptOp(",") {
			if v.List = append(v.List, r.peek().text); r.take().kind == tEOF {
				r.fail(unexpectedEnd(r.src))
			}
		}
	case t.kind == tEOF || t.kind == tOp:
		r.fail(r.unexpected(t))
	default:
		for v.Text = t.text; r.acceptOp("."); {
			v.Text += "." + r.take().text
		}
		if r.acceptOp("%") {
			v.Text += "%"
		}
	}
	return v
}

// formatFor gives the format of a statement's FILE_FORMAT, or else that of the stage.
func (w *work) formatFor(loc location, set stagefiles.Settings) (*stagefiles.Format, error) {
	v, ok := set["FILE_FORMAT"]
	if !ok {
		v = w.e.files.Settings(loc.stage, false)["FILE_FORMAT"]
	}
	name := v.Text + v.Inner["FORMAT_NAME"].Text
	if name == "" {
		return stagefiles.NewFormat(v.Inner)
	}
	r := &rewriter{s: w.session}
	key, err := w.made(r.identified(quoteString(name)), true)
	if r.err != nil || err != nil {
		return nil, cmp.Or(r.err, err)
	}
	if named := w.e.files.Settings(key, true); named != nil {
		return stagefiles.NewFormat(named)
	}
	return nil, domainNotExists("File format", name)
}

func (w *work) list(loc location, set stagefiles.Settings) ([]stagefiles.File, error) {
	files, err := w.e.files.List(loc.stage, loc.path, set.Text("PATTERN"))
	if err != nil {
		return nil, sfError("100048", "2201B", "Invalid regular expression: '%s', %v", set.Text("PATTERN"), err)
	}
	named, ok := set["FILES"]
	if !ok {
		return files, nil
	}
	files = nil
	for _, name := range named.List {
		f, found := stagefiles.Place{Store: w.e.files, Stage: loc.stage, Path: loc.path}.File(name)
		if !found {
			return nil, sfError("091016", "22000", "Remote file '%s' was not found.", path.Join(loc.path, name))
		}
		if !slices.ContainsFunc(files, func(g stagefiles.File) bool { return g.Name == f.Name }) {
			files = append(files, f)
		}
	}
	return files, nil
}

var transferSQL = regexp.MustCompile(`(?is)^(?:\s|/\*.*?\*/)*(PUT|GET)\s+('[^']*'|\S+)\s+('[^']*'|[^\s;]+)(.*)$`)

// transfer answers PUT and GET: the client does the rest.
func (w *work) transfer() (*snowtest.Result, error) {
	m := transferSQL.FindStringSubmatch(w.st.SQL) // not the tokens: // of a path begins a comment
	if m == nil {
		return nil, unexpectedEnd(w.st.SQL)
	}
	put, local, stage := strings.EqualFold(m[1], "PUT"), m[2], m[3]
	if !put {
		local, stage = stage, local
	}
	folder, ok := strings.CutPrefix(strings.TrimPrefix(local, "'"), "file://")
	if !ok {
		return nil, syntaxError(w.st.SQL, strings.Index(w.st.SQL, local), local)
	}
	if local[0] == '\'' {
		folder = unescaped(folder[:len(folder)-1])
	}
	r := newReader(w.session, stage+m[4])
	loc := r.location()
	set := r.settings(wordSet("AUTO_COMPRESS OVERWRITE PARALLEL SOURCE_COMPRESSION PATTERN"))
	if err := r.end(); err != nil {
		return nil, err
	}
	res := snowtest.Status(snowtest.KindSelect, executed)
	t := &snowtest.Transfer{Parallel: set.Number("PARALLEL", 0), SourceCompression: set.Text("SOURCE_COMPRESSION"),
		AutoCompress: set.Is("AUTO_COMPRESS", true), Overwrite: set.Is("OVERWRITE", false),
		Encrypted: w.e.files.Settings(loc.stage, false)["ENCRYPTION"].Inner.Word("TYPE", "SNOWFLAKE_FULL") != "SNOWFLAKE_SSE"}
	res.Transfer, res.ReadOnly = t, !put
	if put {
		t.Files, t.Place = []string{folder}, stagefiles.Place{Store: w.e.files, Stage: loc.stage, Path: loc.path}
		return res, nil
	}
	t.Local, t.Place = folder, stagefiles.Place{Store: w.e.files, Stage: loc.stage}
	files, err := w.list(loc, set)
	for _, f := range files {
		t.Files = append(t.Files, f.Name)
	}
	return res, err
}

func (w *work) listFiles() (*snowtest.Result, error) {
	r := w.rewriter()
	remove := r.take().word("REMOVE", "RM")
	loc := r.location()
	set := r.settings(wordSet("PATTERN"))
	if err := r.end(); err != nil {
		return nil, err
	}
	files, err := w.list(loc, set)
	switch {
	case err != nil:
		return nil, err
	case remove && !w.st.DescribeOnly:
		return w.e.files.Remove(loc.stage, files...), nil
	}
	return stagefiles.Listed(loc.stage, files), nil
}

// createStage reads CREATE STAGE and CREATE FILE FORMAT behind IF NOT EXISTS.
func (w *work) createStage(r *rewriter, f createFlags) (object, action) {
	format := f.what == "FILE"
	o := r.objectName()
	known := wordSet("FILE_FORMAT COPY_OPTIONS ENCRYPTION COMMENT")
	if format {
		known = nil
	}
	if r.peek().word("URL") {
		r.fail(unsupported("external stage"))
	}
	set := r.settings(known)
	full, err := o.in(w.session)
	if format && err == nil {
		_, err = stagefiles.NewFormat(set)
	} else if err == nil {
		_, err = w.formatFor(location{}, set)
	}
	if err == nil {
		err = w.mustExist(context.Background(), object{database: full.database, schema: full.schema}, errNoObject)
	}
	r.fail(err)
	return o, func(context.Context) error {
		key := full.key()
		if f.temporary {
			key = stagefiles.Temporary(w.info.ID, full.String())
		}
		if !f.replace && w.e.files.Settings(key, format) != nil {
			return alreadyExists(o.name)
		}
		set["CREATED"] = stagefiles.Setting{Text: string(fraction(nil, w.now.Unix(), w.now.Nanosecond()/1000*1000, 9))}
		w.e.files.Create(key, format, set)
		return nil
	}
}

func (w *work) dropStage(r *rewriter, what string) (object, action) {
	o, format := r.objectName(), what == "FILE"
	return o, func(ctx context.Context) error {
		full, err := o.in(w.session)
		key, _ := w.made(o, format)
		if err == nil {
			err = w.mustExist(ctx, object{database: full.database, schema: full.schema}, errNoObject)
		}
		if err == nil && w.e.files.Settings(key, format) == nil {
			err = domainNotExists(pick(format, "File format", "Stage"), o.name)
		}
		if err == nil {
			w.e.files.Drop(key, format)
		}
		return err
	}
}

func (w *work) describeStage(o object) (*snowtest.Result, error) {
	key, err := w.made(o, false)
	set := w.e.files.Settings(key, false)
	if err != nil || set == nil {
		return nil, domainNotExists("Stage", o.String())
	}
	var rows [][]*string
	for _, parent := range sortedKeys(set) {
		for _, name := range sortedKeys(set[parent].Inner) {
			rows = append(rows, texts(parent, name, "String", set[parent].Inner.Text(name), ""))
		}
	}
	return textTable([]string{"parent_property", "property", "property_type", "property_value", "property_default"}, rows), nil
}

func (w *work) showStages(l *listing) *snowtest.Result {
	var rows [][]*string
	database, schema := w.place(l)
	for _, k := range w.e.files.Made(false) {
		set := w.e.files.Settings(k, false)
		if (database == "" || k[0] == database) && (schema == "" || k[1] == schema) {
			rows = append(rows, texts(set.Text("CREATED"), k[2], k[0], k[1], "", "N", "N", "SYSADMIN", set.Text("COMMENT"), "INTERNAL"))
		}
	}
	res := textTable([]string{"created_on", "name", "database_name", "schema_name", "url", "has_credentials", "has_encryption_key", "owner", "comment", "type"}, l.filtered(rows, 1))
	res.Columns[0] = snowtest.Column{Name: "created_on", Type: "timestamp_ltz", Scale: 9, Nullable: true}
	return res
}

// scratch gives a path for a Parquet file, in the one folder that DuckDB may use.
func (e *Engine) scratch() (string, error) {
	return path.Join(e.folder, e.uniqueName("")), os.MkdirAll(e.folder, 0o700)
}
