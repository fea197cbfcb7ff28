package duckdb

import (
	"encoding/json"
	"strconv"
	"strings"
)

// This file carries out FLATTEN: one row for each element of an array or member of an
// object.

// flattenCall reads FLATTEN(input => v, path => 'p', outer => b, recursive => b, mode => 'm')
// and writes it as a table. The word has been read.
func (g *region) flattenCall() {
	r := g.r
	args := map[string]string{"PATH": "''", "OUTER": "FALSE", "RECURSIVE": "FALSE", "MODE": "'BOTH'"}
	r.bracketed("(", func() {
		name := "INPUT"
		if r.at(1).is("=>") {
			name = r.take().text
			r.i++
		}
		if _, known := args[name]; !known && name != "INPUT" {
			r.fail(unsupported("FLATTEN with %s", name))
		}
		args[name] = r.argument()
	})
	path, ok := unquoted(args["PATH"])
	mode, _ := unquoted(strings.ToUpper(args["MODE"]))
	if r.err == nil && (args["INPUT"] == "" || !ok || mode != "BOTH" && mode != "ARRAY" && mode != "OBJECT") {
		r.fail(unsupported("FLATTEN with these arguments"))
		return
	}
	input := args["INPUT"]
	if path != "" {
		c := &call{r: r, name: "GET_PATH", args: []string{input, args["PATH"]}, toks: [][]token{nil, {{kind: tString, text: path}}}}
		input = getPath(c)
	}
	element := func(name string) string { return "(e ->> '$." + name + "')" }
	// Its rows are numbered by the row that they come from, and only that of the first source is one.
	seq := pick(len(g.out) > 0 && g.out[len(g.out)-1] == "FROM", "1", "sf_no_seq()")
	g.push("(SELECT " + seq + " AS SEQ, " + element("k") + " AS KEY, " + element("p") + " AS PATH, CAST(" + element("i") + " AS BIGINT) AS INDEX, " +
		"sf_box(" + element("v") + ") AS VALUE, sf_box(" + element("t") + ") AS THIS FROM (SELECT unnest(json_extract(sf_flatten(" +
		"COALESCE(sf_element(" + input + "), ''), " + quoteString(path) + ", CAST(" + args["OUTER"] + " AS VARCHAR), CAST(" + args["RECURSIVE"] + " AS VARCHAR), " +
		quoteString(mode) + "), '$[*]')) AS e))")
	g.operand = true
}

// A flatRow is one row of FLATTEN. What is nil is NULL.
type flatRow struct {
	Key   *string `json:"k"`
	Path  *string `json:"p"`
	Index *string `json:"i"`
	Value *string `json:"v"`
	This  *string `json:"t"`
}

// flatten gives the rows as a JSON array.
func flatten(text, path string, outer, recursive bool, mode string) (string, error) {
	var rows []flatRow
	if text != "" {
		rows = flatRows(nil, json.RawMessage(text), path, recursive, mode, 0)
	}
	if len(rows) == 0 && outer {
		rows = []flatRow{{}}
	}
	list, err := json.Marshal(rows)
	if rows == nil {
		return "[]", nil
	}
	return string(list), err
}

func flatRows(rows []flatRow, this json.RawMessage, path string, recursive bool, mode string, depth int) []flatRow {
	text := string(this)
	if depth > maxDepth || text == "" {
		return rows
	}
	add := func(key, index *string, at string, value json.RawMessage) {
		v := string(value)
		rows = append(rows, flatRow{Key: key, Index: index, Path: &at, Value: &v, This: &text})
		if recursive {
			rows = flatRows(rows, value, at, recursive, mode, depth+1)
		}
	}
	switch {
	case text[0] == '[' && mode != "OBJECT":
		var elements []json.RawMessage
		_ = json.Unmarshal(this, &elements) // of a document that was read before
		for i, e := range elements {
			index := strconv.Itoa(i)
			add(nil, &index, path+"["+index+"]", e)
		}
	case text[0] == '{' && mode != "ARRAY":
		var members map[string]json.RawMessage
		_ = json.Unmarshal(this, &members)
		for _, key := range sortedKeys(members) {
			add(&key, nil, memberPath(path, key), members[key])
		}
	}
	return rows
}

// memberPath adds a member to a path: by its name alone where that is a plain one.
func memberPath(path, key string) string {
	if key == "" || isDigit(key[0]) || scanWord(key, 0) != len(key) {
		return path + "['" + key + "']"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
