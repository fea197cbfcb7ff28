package sqltext

import "strings"

// Fold writes an identifier as the catalog has it: in upper case, unless it is in double quotes.
func Fold(name string) string {
	if len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' {
		return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	}
	return strings.ToUpper(name)
}
