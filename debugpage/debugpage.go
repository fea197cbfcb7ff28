// Package debugpage shows the state of a program's pools, on a page for whoever has to
// find out in the middle of the night.
//
// It is mounted like net/http/pprof, and belongs where that is: on a port or behind
// a login that only operators reach.
//
//	connector, err := snowtether.ConnectorOf(db) // or what NewConnector returned
//	if err != nil { … }
//	mux.Handle("/debug/snowtether/", debugpage.Handler(connector))
//
// For each pool the page has a sentence that says how the pool is and what, if
// anything, needs doing; then the sessions, the gate that logins pass, the counts,
// and the last 100 events. A long table shows five rows, and the others on request. The page
// refreshes itself every 5 seconds, also works without JavaScript, and loads nothing from
// elsewhere. Reading it sends nothing to Snowflake and holds nobody up.
//
// With ?format=json, or an Accept header that has JSON and no HTML before it, the
// same comes as JSON; docs/observability.md has its fields.
//
// The page shows a [snowtether.Snapshot], plus the sentence: no secret, no SQL, no
// name of a user, a host or an account. Pools are told apart by
// [snowtether.WithPoolName].
package debugpage

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether"
)

// Handler returns a handler that shows the connectors, those first that need somebody,
// and otherwise in this order. It answers GET and HEAD whatever the path, so it can be
// mounted anywhere, and changes nothing; nil connectors are left out. It keeps nothing
// between two requests: a program whose pools come and go can make a handler for each
// request.
func Handler(connectors ...*snowtether.Connector) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, snapshots(connectors), false)
	})
}

// HandlerWithAcknowledge is [Handler] with a button for statements in doubt. Somebody who has
// looked after those that a pool lists marks them as seen with it
// ([snowtether.Connector.Acknowledge]), and the page no longer asks for a person. The button
// sends a POST, which is refused if it comes from a page of another site
// ([http.CrossOriginProtection]). Everybody who can read the page can press the button.
func HandlerWithAcknowledge(connectors ...*snowtether.Connector) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			acknowledge(w, r, connectors)
			return
		}
		serve(w, r, snapshots(connectors), true)
	})
}

func snapshots(connectors []*snowtether.Connector) (all []snowtether.Snapshot) {
	for _, c := range connectors {
		if c != nil {
			all = append(all, c.Snapshot())
		}
	}
	return all
}

// These files are the page. Its script and its style stand in it, so that it is one
// request; the policy names their hashes, so that no other script or style counts.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	page = template.Must(template.New("page").Parse(pageHTML))
)

// policy is the page's Content-Security-Policy up to where forms may be sent.
var policy = "default-src 'none'; script-src " + hash(pageJS) + "; style-src " + hash(pageCSS) +
	"; img-src data:; connect-src 'self'; base-uri 'none'; form-action "

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// seal sets the headers of every reply.
func seal(w http.ResponseWriter, withForm bool) {
	forms, referrer := "'none'", "no-referrer"
	if withForm {
		// With no-referrer a browser names no origin in the form's request either, and the
		// request then looks like one from another site.
		forms, referrer = "'self'", "same-origin"
	}
	for name, value := range map[string]string{
		"Cache-Control":                "no-store",
		"Content-Security-Policy":      policy + forms + "; frame-ancestors 'none'",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              referrer,
		"Vary":                         "Accept",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
	} {
		w.Header().Set(name, value)
	}
}

// acknowledge takes the page's form.
func acknowledge(w http.ResponseWriter, r *http.Request, connectors []*snowtether.Connector) {
	seal(w, true)
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		http.Error(w, "the request comes from another site: press the button on the page itself", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	_ = r.ParseForm() // what it cannot read is no number
	n, err := strconv.ParseInt(r.PostForm.Get("until"), 10, 64)
	if err != nil {
		http.Error(w, "the form must have until: when the last statement in doubt failed, in Unix nanoseconds", http.StatusBadRequest)
		return
	}
	until, found := time.Unix(0, n), false
	for _, c := range connectors {
		if c == nil {
			continue
		}
		// The moment is also the name of the pool: it does not change where pools come and go.
		if slices.ContainsFunc(c.Snapshot().Events, func(e snowtether.Event) bool { return e.Kind == snowtether.EventInDoubt && e.Time.Equal(until) }) {
			c.Acknowledge(until)
			found = true
		}
	}
	if !found {
		http.Error(w, "no pool has a statement in doubt of that moment any more: load the page again", http.StatusConflict)
		return
	}
	w.Header().Set("Location", "?") // relative, so that it is right under any prefix
	w.WriteHeader(http.StatusSeeOther)
}

func serve(w http.ResponseWriter, r *http.Request, snapshots []snowtether.Snapshot, withForm bool) {
	seal(w, withForm)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		allow, says := "GET, HEAD", "this page can only be read: use GET or HEAD"
		if withForm {
			allow, says = "GET, HEAD, POST", "this page takes GET and HEAD, and its button POST"
		}
		w.Header().Set("Allow", allow)
		http.Error(w, says, http.StatusMethodNotAllowed)
		return
	}
	rep := report{Time: utc(time.Now()), Pools: make([]pool, len(snapshots))}
	for i, s := range snapshots {
		rep.Pools[i] = newPool(s)
	}
	worstFirst(rep.Pools)
	var body bytes.Buffer
	var err error
	switch format := r.URL.Query().Get("format"); {
	case format == "json" || format == "" && prefersJSON(r.Header.Get("Accept")):
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(&body)
		enc.SetIndent("", "  ")
		err = enc.Encode(rep)
	case format == "" || format == "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		err = page.Execute(&body, view{rep, withForm, template.CSS(pageCSS), template.JS(pageJS)})
	default:
		http.Error(w, "format must be html or json", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	_, _ = body.WriteTo(w) // the reader has left: nobody is there to be told
}

// prefersJSON says whether JSON is the first of the two forms that the client
// takes.
func prefersJSON(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		switch form, _, _ := mime.ParseMediaType(part); form {
		case "application/json":
			return true
		case "text/html":
			return false
		}
	}
	return false
}

// A view is what the template sees.
type view struct {
	report
	Acknowledge bool // it has the button
	Style       template.CSS
	Script      template.JS
}

// Worst is the level of the pool that is worst off, which is the first.
func (v view) Worst() level { return v.Pools[0].Level }

// worstFirst orders pools by what needs doing, and otherwise leaves them as they are.
func worstFirst(pools []pool) {
	from := []level{levelAct, levelWait, levelOK, levelClosed}
	slices.SortStableFunc(pools, func(p, q pool) int {
		return cmp.Compare(slices.Index(from, p.Level), slices.Index(from, q.Level))
	})
}

// Clock is when it was like this.
func (v view) Clock() string { return v.Time.Format("15:04:05") + " UTC" }

// Day is the date of that.
func (v view) Day() string { return v.Time.Format("Mon 2 Jan 2006") }
