package main

import (
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// TestTextsArriveAsTheyAre: those of a file too that COPY INTO would read in another way. The
// counts and sums do not tell.
func TestTextsArriveAsTheyAre(t *testing.T) {
	for name, weather := range map[string]string{"a backslash": `rain\snow`, "a line's end": "rain\nsnow", "nothing": "", "a quote": `"rain"`, "space": " rain "} {
		for way, flags := range map[string][]string{"by files": nil, "by INSERT": {"-inserts"}} {
			t.Run(name+" "+way, func(t *testing.T) {
				srv := serve(t)
				content := strings.Join(header, ",") + "\nSeattle,2024-01-01,0.0,1.0,0.0,1.0,\"" + strings.ReplaceAll(weather, `"`, `""`) + "\"\n"
				load(t, srv.DSN(), 0, append(flags, write(t, content)...)...)
				if got := texts(t, open(t, srv), "SELECT weather FROM pipeline_weather"); len(got) != 1 || got[0] != weather {
					t.Errorf("%q arrived as %q", weather, got)
				}
			})
		}
	}
}

// TestRunWhoseFilesAnotherHasRemovedGoesOn: two runs of one load. The other has staged and
// merged all of it and removed the files of it, between this one's PUT and its COPY.
func TestRunWhoseFilesAnotherHasRemovedGoesOn(t *testing.T) {
	srv := serve(t)
	paths := write(t, fileA)
	arrived, release := make(chan struct{}), make(chan struct{})
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if !strings.HasPrefix(r.SQL, "COPY INTO") {
			return snowtest.Fault{}, false
		}
		close(arrived)
		return snowtest.Fault{Hold: release}, true
	})
	done := make(chan int)
	var stdout, stderr output
	go func() { done <- run(t.Context(), paths, srv.DSN(), &stdout, &stderr) }()
	<-arrived
	load(t, srv.DSN(), 0, paths...)
	close(release)
	if status := <-done; status != 0 {
		t.Errorf("status %d\n%s", status, &stderr)
	}
	exact(t, open(t, srv), fileA)
}
