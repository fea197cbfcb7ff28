package verify

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// This file is what may be shown of a request and its reply, and what makes it so: a report
// is pasted into public places, so that whatever is not known to be harmless is left out.

// An Exchange is one request and its reply, without a value or a name in it.
type Exchange struct {
	Request string   `json:"request"`           // the method and the path, with every ID as {id}
	Status  int      `json:"status"`            // of HTTP
	Code    string   `json:"code,omitempty"`    // Snowflake's, or "?" if the reply had something else there
	Keys    []string `json:"keys,omitempty"`    // of the reply's data, sorted
	Message string   `json:"message,omitempty"` // with everything blanked that is not a word of Snowflake's messages
}

var (
	codeForm = regexp.MustCompile(`^\d{1,6}$`)
	keyForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,39}$`)
	wordForm = regexp.MustCompile(`^[A-Z][A-Z_]{1,29}$`)
	idForm   = regexp.MustCompile(`^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// exchange is what may be shown of a reply to a request of this form.
func (b *blanker) exchange(form string, r *reply) Exchange {
	x := Exchange{Request: form, Status: r.Status, Code: r.Code, Message: b.blank(r.Message)}
	if r.Code != "" && !codeForm.MatchString(r.Code) {
		x.Code = "?"
	}
	for key := range r.Data {
		if keyForm.MatchString(key) {
			x.Keys = append(x.Keys, key)
		}
	}
	slices.Sort(x.Keys)
	return x
}

// statusWord is a word of the monitor's, if it has the form of one.
func statusWord(text string) string {
	if wordForm.MatchString(text) {
		return text
	}
	return "?"
}

// blanker blanks texts of Snowflake's.
type blanker struct{ names map[string]bool } // in lower case, of the account's own

func newBlanker(names ...string) *blanker {
	b := &blanker{names: map[string]bool{}}
	for _, name := range names {
		for _, part := range strings.FieldsFunc(strings.ToLower(name), notLetter) {
			b.names[part] = true
		}
	}
	return b
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

var (
	quoted = regexp.MustCompile(`'[^']*'|"[^"]*"|` + "`[^`]*`" + `|\[[^\]]*\]`)
	piece  = regexp.MustCompile(`[^\s,;:()…]+`)
)

// blank keeps the words that Snowflake's messages are made of. A text in quotes, a number, a
// word with anything but letters in it, a name of the account's and every other word is "…".
func (b *blanker) blank(text string) string {
	text = quoted.ReplaceAllString(text, "…")
	text = piece.ReplaceAllStringFunc(text, func(word string) string {
		bare := strings.TrimRight(word, ".!?")
		lower := strings.ToLower(bare)
		if vocabulary[lower] && !b.names[lower] && (bare == lower || bare == strings.ToUpper(bare[:1])+lower[1:] || lower == "sql") {
			return word
		}
		return "…" + word[len(bare):]
	})
	return strings.Join(strings.Fields(text), " ")
}

// vocabulary are the words of the messages that are known, and of their neighbours.
var vocabulary = func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields(`
		a about access account active administrator after again all already an and another any are as at authenticate
		authentication authorization authorized be been begin by can cancelled canceled cannot ciphertext client compilation connect connection
		contact context could credentials current currently data database default denied disabled does during empty enabled
		error exceeded execution exist exists expired failed for found from granted has have header id identified if in
		incorrect insufficient internal invalid is it its local lock locked login longer message method must network new no not
		oauth object of on operate operation or parameter password perform permission policy privileges procedure progress provide provided query reached
		refused request required requested resource result results role running schema seconds select selected server service session
		session's sql state statement statements string successfully system table temporary terminated text that the
		this timeout to token transaction type unable unexpected unknown unsupported use user username valid value
		warehouse was were with without you your aborted abort asynchronous detached id's monitoring management executed executing specified`) {
		words[w] = true
	}
	return words
}()

// A reply is what a request was answered, in memory only.
type reply struct {
	Status  int
	Success bool
	Code    string
	Message string
	Data    map[string]json.RawMessage // empty also where data was no object
	html    bool                       // it was not of Snowflake's form
}

// read takes a reply apart.
func read(status int, body []byte) *reply {
	r := &reply{Status: status}
	var envelope struct {
		Success *bool           `json:"success"`
		Code    json.RawMessage `json:"code"`
		Message *string         `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &envelope) != nil || envelope.Success == nil {
		r.html = true
		return r
	}
	r.Success = *envelope.Success
	if code := strings.Trim(string(envelope.Code), `"`); code != "null" {
		r.Code = code
	}
	if envelope.Message != nil {
		r.Message = *envelope.Message
	}
	_ = json.Unmarshal(envelope.Data, &r.Data)
	return r
}

// text is a value of the reply's data that is a text or a number; "" if there is none.
func (r *reply) text(key string) string {
	raw := r.Data[key]
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// queryID is the ID that the reply has; "" if it has none of an ID's form.
func (r *reply) queryID() string {
	if id := r.text("queryId"); idForm.MatchString(id) {
		return id
	}
	return ""
}

// refused reports whether the reply says that the session or its token is not good: HTTP 401
// or a code of 39xxxx.
func (r *reply) refused() bool {
	return r.Status == http.StatusUnauthorized || len(r.Code) == 6 && strings.HasPrefix(r.Code, "39")
}

// foreign reports whether the reply says nothing of what Snowflake makes of the request: it is a
// gateway's, or puts the client off. HTTP 401 is an answer, whatever its form.
func (r *reply) foreign() bool {
	return r.Status >= 500 || r.Status == http.StatusTooManyRequests || r.Status == http.StatusRequestTimeout ||
		r.html && r.Status != http.StatusUnauthorized
}

// inProgress reports whether the statement runs on.
func (r *reply) inProgress() bool { return r.Code == "333333" || r.Code == "333334" }

// rows are the rows of a result in JSON form, and the names of its columns in lower case.
func (r *reply) rows() (columns []string, rows [][]*string) {
	var types []struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(r.Data["rowtype"], &types)
	for _, t := range types {
		columns = append(columns, strings.ToLower(t.Name))
	}
	_ = json.Unmarshal(r.Data["rowset"], &rows)
	return columns, rows
}

// cell is the first value of the first row; "" for NULL and for no rows.
func (r *reply) cell() string {
	_, rows := r.rows()
	if len(rows) == 0 || len(rows[0]) == 0 || rows[0][0] == nil {
		return ""
	}
	return *rows[0][0]
}

// column are the values of a column, by its name in lower case.
func (r *reply) column(name string) (values []string) {
	columns, rows := r.rows()
	i := slices.Index(columns, name)
	for _, row := range rows {
		value := ""
		if i >= 0 && i < len(row) && row[i] != nil {
			value = *row[i]
		}
		values = append(values, value)
	}
	return values
}
