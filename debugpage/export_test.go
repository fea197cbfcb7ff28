package debugpage

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/snowtether/snowtether"
)

// Page shows snapshots that no server makes on request.
func Page(snapshots ...snowtether.Snapshot) http.Handler { return form(false, snapshots) }

// PageWithForm is the page with the button.
func PageWithForm(snapshots ...snowtether.Snapshot) http.Handler { return form(true, snapshots) }

func form(with bool, snapshots []snowtether.Snapshot) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, snapshots, with) })
}

// Judge is the sentence, with its level.
func Judge(s snowtether.Snapshot) string {
	l, sentence := judge(s)
	return string(l) + ": " + sentence
}

// Chart has the minutes of each line's bars, by the line's name.
func Chart(s snowtether.Snapshot) map[string]string {
	lines := make(map[string]string)
	for _, t := range newPool(s).Tracks() {
		var at []string
		for _, b := range t.Bars {
			at = append(at, fmt.Sprint(b.X))
		}
		lines[t.Name] = strings.Join(at, " ")
	}
	return lines
}
