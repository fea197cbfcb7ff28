package debugpage

import (
	"net/http"

	"github.com/snowtether/snowtether"
)

// Page shows snapshots that no server makes on request.
func Page(snapshots ...snowtether.Snapshot) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, snapshots) })
}

// Judge is the sentence, with its level.
func Judge(s snowtether.Snapshot) string {
	l, sentence := judge(s)
	return string(l) + ": " + sentence
}
