// Package contract holds the guarantees of snowtether as black-box tests: everything
// here goes through database/sql and the exported names, to the real gosnowflake, to a
// snowtest server. The package itself is empty.
package contract
