package main

import (
	"strings"
	"testing"
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
