package snowtest

// What the tests of the scanner and of the CSV reader look at.
var (
	SplitStatements   = splitStatements
	CountPlaceholders = countPlaceholders
	KindOfSQL         = kindOfSQL
	ChangesData       = changesData
	ParseCSV          = parseCSV
)
