package duckdb

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
)

// This file reads JSON text, which is what a VARIANT holds. DuckDB's own
// functions would turn long numbers into doubles on the way.

// maxDepth bounds how deep a document nests.
const maxDepth = 1000

// canonicalJSON writes a document as a VARIANT keeps it: without white space and
// with the keys of an object in order, so that equal documents are equal texts.
func canonicalJSON(text string) (string, error) {
	d := json.NewDecoder(strings.NewReader(doubleQuotes(text)))
	d.UseNumber()
	var b strings.Builder
	err := writeJSON(&b, d, 0)
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("more than one document in the input")
		}
	}
	if !errors.Is(err, io.EOF) {
		return "", err
	}
	if b.Len() == 0 {
		return "", errors.New("unexpected end of input")
	}
	return b.String(), nil
}

// doubleQuotes writes strings in single quotes, which Snowflake reads too, as JSON's.
func doubleQuotes(text string) string {
	if !strings.Contains(text, "'") {
		return text
	}
	var b strings.Builder
	quote := byte(0) // the one that the string began with
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quote != 0 && i+1 < len(text):
			i++
			if text[i] != '\'' {
				b.WriteByte(c)
			}
			c = text[i]
		case quote == 0 && (c == '\'' || c == '"'):
			quote, c = c, '"'
		case c == quote:
			quote, c = 0, '"'
		case quote == '\'' && c == '"':
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

func writeJSON(b *strings.Builder, d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("document is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			err = writeObject(b, d, depth)
		} else {
			err = writeArray(b, d, depth)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	case string:
		b.WriteString(quoteJSON(v))
	case json.Number:
		b.WriteString(v.String())
	case bool:
		b.WriteString(strconv.FormatBool(v))
	default:
		b.WriteString("null")
	}
	return nil
}

func writeArray(b *strings.Builder, d *json.Decoder, depth int) error {
	b.WriteByte('[')
	for first := true; d.More(); first = false {
		if !first {
			b.WriteByte(',')
		}
		if err := writeJSON(b, d, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	_, err := d.Token()
	return err
}

func writeObject(b *strings.Builder, d *json.Decoder, depth int) error {
	members := map[string]string{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if _, twice := members[key]; twice {
			return errors.New("duplicate object attribute " + quoteJSON(key))
		}
		var value strings.Builder
		if err := writeJSON(&value, d, depth+1); err != nil {
			return err
		}
		members[key] = value.String()
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	b.WriteByte('{')
	for i, key := range sortedKeys(members) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoteJSON(key) + ":" + members[key])
	}
	b.WriteByte('}')
	return nil
}

func quoteJSON(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string, into memory
	return strings.TrimSuffix(b.String(), "\n")
}

// A path leads into a document: JSON strings for members, numbers for elements.
func joinPath(steps []string) string { return "[" + strings.Join(steps, ",") + "]" }

// jsonAt gives the part of a document to which a path leads, and nil if there is
// none.
func jsonAt(text, path string) (any, error) {
	var steps []any
	if err := json.Unmarshal([]byte(path), &steps); err != nil {
		return nil, err
	}
	at := json.RawMessage(text)
	for _, step := range steps {
		switch s := step.(type) {
		case string:
			var members map[string]json.RawMessage
			if json.Unmarshal(at, &members) != nil || members[s] == nil {
				return nil, nil
			}
			at = members[s]
		case float64:
			var elements []json.RawMessage
			if json.Unmarshal(at, &elements) != nil || int(s) >= len(elements) {
				return nil, nil
			}
			at = elements[int(s)]
		}
	}
	return string(at), nil
}
