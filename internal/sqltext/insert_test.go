package sqltext

import "testing"

func TestPlainInsertInsertsWhatIsBound(t *testing.T) {
	for text, want := range map[string]int{
		"INSERT INTO t VALUES (?)":                          1,
		"insert into db.\"S\".t (a, \"b\") values (?, ?) ;": 2,
		"/* x */ INSERT INTO t(a,b,c) -- y\nVALUES(?,?,?)":  3,
		"INSERT INTO t VALUES (:1, :2)":                     2,
		"INSERT INTO IDENTIFIER('t') VALUES (?)":            0,
		"INSERT OVERWRITE INTO t VALUES (?)":                0,
		"INSERT INTO t VALUES (?), (?)":                     0,
		"INSERT INTO t VALUES (? + 1)":                      0,
		"INSERT INTO t VALUES (?, 1)":                       0,
		"INSERT INTO t VALUES (?, f(?))":                    0,
		"INSERT INTO t VALUES (:name)":                      0,
		"INSERT INTO t VALUES ()":                           0,
		"INSERT INTO t VALUES (?,)":                         0,
		"INSERT INTO t SELECT ?":                            0,
		"INSERT INTO t SELECT * FROM VALUES (?)":            0,
		"INSERT ALL INTO t VALUES (?) SELECT 1":             0,
		"INSERT INTO t VALUES (?); DELETE FROM t":           0,
		"INSERT INTO t VALUES (?) ->> SELECT 1":             0,
		"INSERT INTO t VALUES (?) /* not closed":            0,
		"INSERT INTO t (a VALUES (?)":                       0,
		"INSERT INTO t. VALUES (?)":                         0,
		"INSERT INTO":                                       0,
		"UPDATE INTO t VALUES (?)":                          0,
		"INSERT FROM t VALUES (?)":                          0,
		"INSERT INTO ? VALUES (?)":                          0,
		"INSERT INTO 't' VALUES (?)":                        0,
		"INSERT INTO 1 VALUES (?)":                          0,
		"INSERT INTO t (a; VALUES (?)":                      0,
		"INSERT INTO t (a + VALUES (?)":                     0,
		"INSERT INTO t (a] VALUES (?)":                      0,
		"INSERT INTO t FROM (?)":                            0,
		"INSERT INTO t VALUES [?)":                          0,
		"INSERT INTO t VALUES ?":                            0,
		"INSERT INTO t VALUES (? 1)":                        0,
		"INSERT INTO t VALUES (? ?)":                        0,
		"INSERT INTO t VALUES (? + ?)":                      0,
		"INSERT INTO t VALUES (= 1)":                        0,
		"INSERT INTO t VALUES (?1)":                         0,
		"INSERT INTO t VALUES (- 1)":                        0,
		"INSERT INTO \"t VALUES (?)":                        0,
		"UPDATE t SET a = ?":                                0,
		"":                                                  0,
	} {
		if got := (Reader{}).Read(text).PlainInsert(); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
