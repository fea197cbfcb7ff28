package verify

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file drops what a run that was killed has left behind.

// ours is the form of the names of all that runs make. Whatever else begins with the prefix
// is not touched.
var ours = regexp.MustCompile(`^` + Prefix + `\d{8}T\d{6}_[A-Z2-7]{8}(_[PUW])?$`)

// A kind is one of the kinds of things that runs make. They are dropped in this order.
type kind struct {
	name, list string
	admin      bool
}

var kinds = []kind{
	{"USER", "USERS", true},
	{"ROLE", "ROLES", true},
	{"NETWORK POLICY", "NETWORK POLICIES", true},
	{"WAREHOUSE", "WAREHOUSES", true},
	{"SCHEMA", "SCHEMAS", true},
	{"SCHEMA", "SCHEMAS", false},
}

// Cleanup drops what runs have left behind in the database that the Config names, and with an
// administrator's also the users, roles, policies and warehouses. It returns what it dropped, as
// kind and name. No other run may be under way: it would lose its schema.
func Cleanup(ctx context.Context, o Options) (dropped []string, err error) {
	for _, side := range []struct {
		cfg   *gosnowflake.Config
		admin bool
		what  string
	}{{o.Admin, true, "the administrator's DSN"}, {o.Config, false, "the DSN"}} {
		if side.cfg == nil {
			continue
		}
		if err := admissible(side.cfg, side.what); err != nil {
			return dropped, err
		}
		a := newAccount(side.cfg, o.TLS)
		s, loginErr := a.login(ctx, nil)
		if loginErr != nil {
			return dropped, errors.Join(err, loginErr)
		}
		for _, k := range kinds {
			if k.admin == side.admin {
				names, dropErr := drop(ctx, s, k, side.cfg.Database)
				dropped, err = append(dropped, names...), errors.Join(err, dropErr)
			}
		}
		a.closeAll(context.WithoutCancel(ctx))
	}
	return dropped, err
}

func drop(ctx context.Context, s *session, k kind, database string) (dropped []string, err error) {
	within := ""
	if k.name == "SCHEMA" {
		within = " IN DATABASE " + name(database)
	}
	like := " LIKE '" + Prefix + "%'"
	if k.name == "NETWORK POLICY" {
		like = "" // SHOW NETWORK POLICIES takes none
	}
	r, err := s.must(ctx, "SHOW "+k.list+like+within)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.ToLower(k.list), err)
	}
	for _, found := range r.column("name") {
		if !ours.MatchString(found) {
			continue
		}
		full := found
		if k.name == "SCHEMA" {
			full = name(database) + "." + found
		}
		if _, dropErr := s.must(ctx, "DROP "+k.name+" IF EXISTS "+full); dropErr != nil {
			err = errors.Join(err, fmt.Errorf("%s %s: %w", k.name, found, dropErr))
			continue
		}
		dropped = append(dropped, k.name+" "+found)
	}
	return dropped, err
}
