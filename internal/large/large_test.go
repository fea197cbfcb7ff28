package large

import (
	"database/sql/driver"
	"io"
	"sync"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A fake has gosnowflake's methods, and a field of its name with something else in it.
type fake struct {
	gosnowflakes
	ChunkDownloader any
	status          gosnowflake.QueryStatus
}

func (f *fake) GetStatus() gosnowflake.QueryStatus { return f.status }
func (f *fake) Columns() []string                  { return []string{"N"} }
func (f *fake) Next([]driver.Value) error          { return io.ErrNoProgress }

type (
	nothing  struct{}
	fieldsOK struct {
		NextDownloader                                    any
		ChunkMetas                                        []int
		Total                                             int64
		CurrentIndex, CurrentChunkSize, CurrentChunkIndex int
		DoneDownloadCond                                  *sync.Cond
	}
	otherNext struct {
		NextDownloader                                    bool
		ChunkMetas                                        []int
		Total                                             int64
		CurrentIndex, CurrentChunkSize, CurrentChunkIndex int
		DoneDownloadCond                                  *sync.Cond
	}
	otherMetas struct {
		NextDownloader                                    any
		ChunkMetas                                        map[int]int
		Total                                             int64
		CurrentIndex, CurrentChunkSize, CurrentChunkIndex int
		DoneDownloadCond                                  *sync.Cond
	}
	otherInts struct {
		NextDownloader                                    any
		ChunkMetas                                        []int
		Total                                             int64
		CurrentIndex, CurrentChunkSize, CurrentChunkIndex int64
		DoneDownloadCond                                  *sync.Cond
	}
	otherTotal struct {
		NextDownloader                                    any
		ChunkMetas                                        []int
		Total                                             string
		CurrentIndex, CurrentChunkSize, CurrentChunkIndex int
		DoneDownloadCond                                  *sync.Cond
	}
	otherCond struct {
		NextDownloader                                    any
		ChunkMetas                                        []int
		Total                                             int64
		CurrentIndex, CurrentChunkSize, CurrentChunkIndex int
		DoneDownloadCond                                  chan struct{}
	}
)

// TestOtherRowsAreLeftAsTheyAre: those of a gosnowflake that keeps its place elsewhere, and those
// of somebody else.
func TestOtherRowsAreLeftAsTheyAre(t *testing.T) {
	parts := []int{1}
	for _, inside := range []any{
		nil, 7, nothing{}, &nothing{}, (*fieldsOK)(nil), &fieldsOK{}, fieldsOK{ChunkMetas: parts, DoneDownloadCond: sync.NewCond(nil)},
		&fieldsOK{ChunkMetas: parts}, &otherNext{NextDownloader: true}, &otherMetas{NextDownloader: 1, ChunkMetas: map[int]int{1: 1}},
		&otherInts{NextDownloader: 1, ChunkMetas: parts}, &otherCond{NextDownloader: 1, ChunkMetas: parts},
		&otherTotal{NextDownloader: 1, ChunkMetas: parts, DoneDownloadCond: sync.NewCond(&sync.Mutex{})},
	} {
		if in := (&fake{ChunkDownloader: inside}); Rows(t.Context(), in) != driver.Rows(in) {
			t.Errorf("%#v: they are read in another way", inside)
		}
	}
	if in := (struct{ driver.Rows }{&fake{}}); Rows(t.Context(), in) != driver.Rows(in) {
		t.Error("somebody else's are read in another way")
	}
	if Rows(t.Context(), nil) != nil {
		t.Error("there are rows where there were none")
	}
	// What an asynchronous query has is seen when it is over.
	in := &fake{ChunkDownloader: &nothing{}, status: gosnowflake.QueryStatusInProgress}
	if err := Rows(t.Context(), in).Next(nil); err != io.ErrNoProgress {
		t.Errorf("the error is %v", err)
	}
}

// TestRowsThatAreMissingAreNoEnd: where Snowflake says that there are more rows than were read,
// gosnowflake has the last word, whatever its place seems to be.
func TestRowsThatAreMissingAreNoEnd(t *testing.T) {
	for total, want := range map[int64]error{0: io.EOF, 1: io.ErrNoProgress} {
		in := &fake{ChunkDownloader: &fieldsOK{ChunkMetas: []int{1}, Total: total, CurrentChunkIndex: 0, DoneDownloadCond: sync.NewCond(&sync.Mutex{})}}
		if err := Rows(t.Context(), in).Next(nil); err != want {
			t.Errorf("of %d rows none was read: %v, want %v", total, err, want)
		}
	}
}

// TestSmallResultsCostNothingMore: to see that there are no parts takes no allocation.
func TestSmallResultsCostNothingMore(t *testing.T) {
	var in driver.Rows = &fake{ChunkDownloader: &fieldsOK{}}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { Rows(ctx, in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
