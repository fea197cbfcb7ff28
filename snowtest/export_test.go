package snowtest

// What the tests of the scanner and of the CSV reader look at.
var (
	SplitStatements   = splitStatements
	CountPlaceholders = countPlaceholders
	KindOfSQL         = kindOfSQL
	OnlyReads         = func(sql string) bool { return isQuery(sql) && onlyReads(sql) }
	ParseCSV          = parseCSV
)

// What a client does to files, and the server.
var (
	Encrypted = encrypted
	Decrypted = decrypted
)
