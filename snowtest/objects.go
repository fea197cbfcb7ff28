package snowtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/snowtether/snowtether/internal/sqltext"
)

// This file is what a login may name: the databases, schemas, warehouses and roles that exist.

// The codes of logins that name what does not exist (gosnowflake's ErrRoleNotExist and
// ErrObjectNotExistOrAuthorized).
const (
	codeNoRole   = "390189"
	codeNoObject = "390201"
)

// validate is the session parameter with which a client asks that its database, schema and
// warehouse be checked at the login. gosnowflake does, unless its Config says otherwise.
const validate = "CLIENT_VALIDATE_DEFAULT_PARAMETERS"

// Objects may be implemented by an [Engine] that knows which databases and schemas there
// are. Of another one the server knows those that it was started with.
type Objects interface {
	// HasDatabase reports whether the database exists, or if schema is not empty, the schema
	// in it. Names are as in a DSN.
	HasDatabase(database, schema string) bool
}

// objects are what a server was started with, by kind, in the case of the catalog.
type objects struct {
	databases  [][2]string // a database and "", or a database and a schema
	warehouses []string
	roles      []string
}

// WithDatabase adds a database, with the schemas PUBLIC and those named. A server has one
// already, TESTDB. Names are written as in a DSN, as are those of the next two options: in any
// case, or in double quotes as they are.
func WithDatabase(name string, schemas ...string) Option {
	return func(o *options) { o.objects.add(name, schemas...) }
}

func (o *objects) add(name string, schemas ...string) {
	name = sqltext.Fold(name)
	o.databases = append(o.databases, [2]string{name, ""}, [2]string{name, schema})
	for _, s := range schemas {
		o.databases = append(o.databases, [2]string{name, sqltext.Fold(s)})
	}
}

// WithWarehouse adds warehouses. A server has one already, TESTWH.
func WithWarehouse(names ...string) Option {
	return func(o *options) { o.objects.warehouses = append(o.objects.warehouses, folds(names)...) }
}

// WithRole adds roles. A server has those that every account has already: ACCOUNTADMIN,
// ORGADMIN, PUBLIC, SECURITYADMIN, SYSADMIN and USERADMIN.
func WithRole(names ...string) Option {
	return func(o *options) { o.objects.roles = append(o.objects.roles, folds(names)...) }
}

// check reports whether all have a name.
func (o *objects) check() bool {
	for _, d := range o.databases {
		if d[0] == "" {
			return false
		}
	}
	return !slices.Contains(o.warehouses, "") && !slices.Contains(o.roles, "")
}

func folds(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = sqltext.Fold(name)
	}
	return list
}

// admit refuses a login that names a role that does not exist (390189), or, if its client
// asks for the check, another database, schema or warehouse (390201). Without the check the
// session begins without what does not exist.
func (s *Server) admit(ses *session) *Error {
	if s.checkLogin == nil && !slices.Contains(s.objects.roles, sqltext.Fold(ses.role)) {
		return &Error{Code: codeNoRole, Message: fmt.Sprintf("Role '%s' specified in the connect string does not exist or not authorized. "+
			"Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC.", ses.role)}
	}
	checked := strings.EqualFold(fmt.Sprint(ses.params[validate]), "true")
	for _, o := range []struct {
		kind   string
		exists bool
		name   *string
	}{
		{"database", ses.database == "" || s.hasDatabase(ses.database, ""), &ses.database},
		{"schema", ses.schema == "" || s.hasDatabase(ses.database, ses.schema), &ses.schema},
		{"warehouse", slices.Contains(s.objects.warehouses, sqltext.Fold(ses.wh)), &ses.wh},
	} {
		switch {
		case o.exists:
		case checked:
			return &Error{Code: codeNoObject, Message: "The requested " + o.kind + " does not exist or not authorized."}
		default:
			*o.name = ""
		}
	}
	return nil
}

func (s *Server) hasDatabase(database, schema string) bool {
	if slices.Contains(s.objects.databases, [2]string{sqltext.Fold(database), sqltext.Fold(schema)}) {
		return true
	}
	engine, ok := s.engine.(Objects)
	return ok && engine.HasDatabase(database, schema)
}
