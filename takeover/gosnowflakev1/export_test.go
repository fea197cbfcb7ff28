package gosnowflakev1

import "database/sql/driver"

// Registered is the driver that the package has registered.
var Registered driver.Driver = around{}
