package sqltext

import "strings"

// A verb is the word that a statement begins with.
type verb uint8

const (
	verbNone   verb = iota
	verbSelect      // and VALUES
	verbWith
	verbShow
	verbList // and LS
	verbDescribe
	verbExplain
	verbInsert
	verbUpdate
	verbDelete
	verbMerge
	verbCopy
	verbTruncate
	verbRemove // and RM
	verbCreate
	verbAlter
	verbOtherDDL
	verbUse
	verbSet
	verbUnset
	verbTransfer
	verbBegin
	verbStart
	verbCommit
	verbRollback
	verbDeclare
	verbCall
)

var verbs = map[string]verb{
	"SELECT": verbSelect, "VALUES": verbSelect, "WITH": verbWith,
	"SHOW": verbShow, "LIST": verbList, "LS": verbList, "DESCRIBE": verbDescribe, "DESC": verbDescribe, "EXPLAIN": verbExplain,
	"INSERT": verbInsert, "UPDATE": verbUpdate, "DELETE": verbDelete, "MERGE": verbMerge, "COPY": verbCopy,
	"TRUNCATE": verbTruncate, "REMOVE": verbRemove, "RM": verbRemove,
	"CREATE": verbCreate, "ALTER": verbAlter, "DROP": verbOtherDDL, "UNDROP": verbOtherDDL,
	"GRANT": verbOtherDDL, "REVOKE": verbOtherDDL, "COMMENT": verbOtherDDL,
	"USE": verbUse, "SET": verbSet, "UNSET": verbUnset, "PUT": verbTransfer, "GET": verbTransfer,
	"BEGIN": verbBegin, "START": verbStart, "COMMIT": verbCommit, "ROLLBACK": verbRollback, "DECLARE": verbDeclare, "CALL": verbCall,
}

// bits say what a word is within a statement.
type bits uint16

const (
	isReserved    bits = 1 << iota // a parenthesis behind it is none of a call
	isOperator                     // an expression may follow, although it is not reserved
	isPostfix                      // behind the name of a table or of a column, it opens a clause
	isType                         // the name of a type
	isHarmless                     // a function without effect
	isMatch                        // a function of MATCH_RECOGNIZE
	isInformation                  // a table function of INFORMATION_SCHEMA
	asksHistory                    // a function that asks for what the session ran
	asksVariables                  // a function that asks for a variable
)

// Words that are reserved, so that no function has such a name, and behind which a
// parenthesis can stand.
const reserved = `
ALL AND ANY AS BETWEEN BY CASE CHECK DELETE DISTINCT ELSE EXISTS FOR FROM GROUP HAVING ILIKE IN INSERT
INTERSECT INTO IS JOIN LATERAL LIKE MINUS NOT NULL OF ON OR ORDER QUALIFY REGEXP RLIKE ROW ROWS SAMPLE SELECT
SET SOME START TABLE TABLESAMPLE THEN TO UNION UNIQUE UPDATE USING VALUES WHEN WHERE WITH
`

// Words that are not reserved and may stand before an expression.
const operators = `
AFTER ALWAYS BOTH COLLATE CONNECT_BY_ROOT DEFAULT DEFINE DIV ELSEIF ESCAPE EXECUTE CALL FETCH FINAL FIRST FORMAT INTERVAL
LAST LEADING LIMIT MEASURES NEXT OFFSET ONLY PER PRIOR RANGE RETURN RETURNING RETURNS RUNNING SKIP TOP TRAILING UNNEST XOR WINDOW
`

// Words that open a clause behind a name.
const postfix = `
AT AUTOINCREMENT BEFORE CHANGES EXCEPT FILTER IDENTITY KEY MATCH_CONDITION MATCH_RECOGNIZE NULLS OVER PIVOT
REPEATABLE SEED SETS UNPIVOT
`

const types = `
ARRAY BINARY CHAR CHARACTER DATETIME DEC DECIMAL MAP NCHAR NUMBER NUMERIC NVARCHAR NVARCHAR2 OBJECT STRING TEXT
TIME TIMESTAMP TIMESTAMPLTZ TIMESTAMPNTZ TIMESTAMPTZ TIMESTAMP_LTZ TIMESTAMP_NTZ TIMESTAMP_TZ VARBINARY VARCHAR
VARYING VECTOR
`

// vocabulary is all that is known of words, by their text in upper case.
type entry struct {
	verb verb
	is   bits
}

var vocabulary = func() map[string]entry {
	all := map[string]entry{}
	for word, v := range verbs {
		all[word] = entry{verb: v}
	}
	for _, list := range []struct {
		words string
		is    bits
	}{
		{reserved, isReserved}, {operators, isOperator}, {postfix, isPostfix}, {types, isType},
		{builtIn, isHarmless}, {ofHistory, isHarmless | asksHistory}, {ofVariables, isHarmless | asksVariables},
		{ofMatch, isMatch}, {ofInformationSchema, isInformation},
	} {
		for _, word := range strings.Fields(list.words) {
			e := all[word]
			e.is |= list.is
			all[word] = e
		}
	}
	return all
}()

// known looks a word up, in any case. A token that is no word, or is quoted, is not known.
func known(word string) entry {
	var upper [64]byte
	if len(word) > len(upper) {
		return entry{}
	}
	for i := range len(word) {
		upper[i] = upperByte(word[i])
	}
	return vocabulary[string(upper[:len(word)])]
}
