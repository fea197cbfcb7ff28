package duckdb

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/internal/stagefiles"
)

const (
	defaultDatabase = "SNOWTEST"
	defaultSchema   = "PUBLIC"
)

// An Engine answers SQL with one DuckDB database that its sessions share.
type Engine struct {
	connector *duck.Connector
	db        *sql.DB
	path      string
	fileDB    string // the database that lives in the file; empty without a file
	started   time.Time
	lockWait  time.Duration

	files  *stagefiles.Store
	folder string // for the macros, and for Parquet files while they are read and written

	mu         sync.Mutex // guards admin and what follows up to names
	admin      *sql.Conn
	routines   map[string]*routine
	created    map[string]time.Time
	warehouses []string
	names      atomic.Int64 // for objects that the engine makes itself
	txs        atomic.Int64

	changes     atomic.Int64 // committed, by any session
	definitions atomic.Int64 // DDL statements carried out, by any session
	lockWaits   atomic.Int64 // how often a statement met another's change and waited
}

var (
	_ snowtest.Engine        = (*Engine)(nil)
	_ snowtest.EngineSession = (*session)(nil)
)

// An Option changes how [New] sets the engine up.
type Option func(*Engine)

// WithPath keeps one database in a file, which is created if it does not exist.
// The database is named after the file: sales.duckdb holds SALES, and is the
// default of sessions that name none. CREATE DATABASE is refused then. Without
// this option everything is in memory.
func WithPath(file string) Option { return func(e *Engine) { e.path = file } }

// WithLockWait bounds how long a statement waits for another session's
// transaction that changes the same rows, before it fails with 000625. The
// default is 20 seconds; Snowflake's is 12 hours. A session's LOCK_TIMEOUT, if
// set, takes its place.
func WithLockWait(d time.Duration) Option { return func(e *Engine) { e.lockWait = d } }

// New starts an engine. It needs no network and, without [WithPath], no files but a temporary folder.
func New(opts ...Option) (*Engine, error) {
	e := &Engine{started: time.Now(), lockWait: 20 * time.Second, routines: map[string]*routine{}, created: map[string]time.Time{}}
	e.files, e.folder = stagefiles.NewStore(), filepath.Join(os.TempDir(), "snowtest-"+rand.Text())
	for _, o := range opts {
		o(e)
	}
	var err error
	if e.connector, e.db, err = openDuckDB(); err != nil {
		return nil, fmt.Errorf("duckdb: open: %w", err)
	}
	if err := e.setUp(); err != nil {
		e.Close()
		return nil, fmt.Errorf("duckdb: set up: %w", err)
	}
	return e, nil
}

func (e *Engine) setUp() error {
	ctx := context.Background()
	var err error
	if e.admin, err = e.db.Conn(ctx); err != nil {
		return err
	}
	if err := errors.Join(registerScalars(e.admin), e.attachMacros(ctx)); err != nil {
		return err
	}
	statements := []string{"SET GLOBAL default_null_order = 'nulls_last_on_asc_first_on_desc'"}
	if e.path != "" {
		base := filepath.Base(e.path)
		e.fileDB = strings.ToUpper(strings.TrimSuffix(base, filepath.Ext(base)))
		statements = append(statements, "ATTACH "+quoteString(e.path)+" AS "+quoteIdent(e.fileDB))
	}
	statements = append(statements, "SET GLOBAL allowed_directories = ["+quoteString(e.folder+"/")+"]", "SET GLOBAL enable_external_access = false")
	return execAll(ctx, e.admin, statements...)
}

// Close closes the database. The sessions must have been closed.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	if e.admin != nil {
		err = e.admin.Close()
		e.admin = nil
	}
	return errors.Join(err, e.db.Close(), os.RemoveAll(e.folder)) // the database closes the connector too
}

// OpenSession opens a DuckDB connection. The database and the schema of the
// login are created if they do not exist, so that a test need not begin with
// CREATE DATABASE; without any, the session uses SNOWTEST.PUBLIC.
func (e *Engine) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	s := &session{
		e: e, info: info,
		role: cmp.Or(sqltext.Fold(info.Role), "PUBLIC"), warehouse: sqltext.Fold(info.Warehouse),
		database: cmp.Or(sqltext.Fold(info.Database), e.fileDB, defaultDatabase),
		schema:   cmp.Or(sqltext.Fold(info.Schema), defaultSchema),
		vars:     map[string]string{}, params: map[string]string{},
	}
	if err := e.ensureDatabase(ctx, s.database, s.schema); err != nil {
		return nil, err
	}
	c, err := e.connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("duckdb: connect: %w", err)
	}
	s.conn = c.(*duck.Conn)
	if err := s.setUp(ctx); err != nil {
		s.conn.Close()
		return nil, translate(ctx, "", err)
	}
	return s, nil
}

func (s *session) setUp(ctx context.Context) error {
	for k, v := range s.info.Parameters {
		name := strings.ToUpper(k)
		if _, err := parameters[name].typed(name, v); err != nil {
			return err
		}
		s.params[name] = v
	}
	return cmp.Or(s.setPath(ctx), s.setTimeZone(ctx, s.param("TIMEZONE")), s.setFormats(ctx))
}

func (e *Engine) ensureDatabase(ctx context.Context, database, schema string) error {
	if e.fileDB != "" && database != e.fileDB {
		return domainNotExists("Database", database)
	}
	if strings.Contains(hiddenDatabases, quoteString(strings.ToLower(database))) {
		return unsupported("database %s", database) // which DuckDB would mix up with its own
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	statements := []string{
		"CREATE SCHEMA IF NOT EXISTS " + quoteIdent(database) + "." + quoteIdent(defaultSchema),
		"CREATE SCHEMA IF NOT EXISTS " + quoteIdent(database) + "." + quoteIdent(schema),
	}
	if e.fileDB == "" {
		statements = append([]string{"ATTACH IF NOT EXISTS ':memory:' AS " + quoteIdent(database)}, statements...)
	}
	return translate(ctx, "", execAll(ctx, e.admin, statements...))
}

func (e *Engine) uniqueName(prefix string) string {
	return fmt.Sprintf("%s%x_%d", prefix, e.started.UnixNano(), e.names.Add(1))
}

// execute carries out statements of DuckDB's, up to the first that fails.
func (s *session) execute(ctx context.Context, texts ...string) error {
	for _, text := range texts {
		if _, err := exec(ctx, s.conn, text); err != nil {
			return err
		}
	}
	return nil
}

func exec(ctx context.Context, c *duck.Conn, query string) (int64, error) {
	res, err := c.ExecContext(ctx, query, nil)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
