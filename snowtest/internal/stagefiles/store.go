// Package stagefiles is what an engine knows of stages that is no SQL: the files that lie in
// them, and what their formats mean.
package stagefiles

import (
	"crypto/md5"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Key names a stage or a file format: database, schema and name. The stage of a table has a
// name that begins with %, that of a user the database ~, a temporary one # and its session.
type Key [3]string

// UserStage is the key of a user's stage.
func UserStage(user string) Key { return Key{"~", "", strings.ToUpper(user)} }

// Temporary is the key of a stage that one session has.
func Temporary(session int64, name string) Key { return Key{fmt.Sprint("#", session), "", name} }

// Always reports whether the stage is there without being made: a user's, or a table's.
func (k Key) Always() bool { return k[0] == "~" || strings.HasPrefix(k[2], "%") }

// A Store holds the stages and the file formats of an engine, and what was loaded from them.
type Store struct {
	mu      sync.Mutex
	stages  map[Key]*stage
	formats map[Key]Settings
	loads   []Load
}

type stage struct {
	files    map[string]File
	settings Settings
}

// A File is one in a stage. Its name begins behind the stage's.
type File struct {
	Name     string
	Content  []byte
	Sum      string
	Modified time.Time
}

// A Load is a file that was loaded into a table, as it was then.
type Load struct {
	Table, From Key // the stage of the table, and the one of the file
	Name, Sum   string
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{stages: map[Key]*stage{}, formats: map[Key]Settings{}} }

// Forget is called when a table, a schema or a database was made: what was in one of that
// name before is gone.
func (s *Store) Forget(gone func(Key) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.stages, func(k Key, _ *stage) bool { return gone(k) })
	maps.DeleteFunc(s.formats, func(k Key, _ Settings) bool { return gone(k) })
	s.loads = slices.DeleteFunc(s.loads, func(l Load) bool { return gone(l.Table) })
}

// Move gives a table's stage, and what was loaded into the table, to the name that it has now.
func (s *Store) Move(from, to Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stages[from]; st != nil {
		delete(s.stages, from)
		s.stages[to] = st
	}
	for i := range s.loads {
		for _, k := range []*Key{&s.loads[i].Table, &s.loads[i].From} {
			if *k == from {
				*k = to
			}
		}
	}
}

// find finds a stage.
func (s *Store) find(k Key) *stage {
	if s.stages[k] == nil && k.Always() {
		s.stages[k] = &stage{files: map[string]File{}}
	}
	return s.stages[k]
}

// Settings are those of a stage or of a file format; nil if there is none.
func (s *Store) Settings(k Key, format bool) Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if format {
		return s.formats[k]
	}
	if st := s.find(k); st != nil {
		return maps.Clone(st.settings)
	}
	return nil
}

// Create makes a stage or a file format, in place of one that is there.
func (s *Store) Create(k Key, format bool, set Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if format {
		s.formats[k] = set
		return
	}
	s.stages[k] = &stage{map[string]File{}, set}
}

// Drop takes a stage or a file format away.
func (s *Store) Drop(k Key, format bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if format {
		delete(s.formats, k)
		return
	}
	delete(s.stages, k)
}

// Made are the stages that were made, or the file formats, in their order.
func (s *Store) Made(format bool) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Collect(maps.Keys(s.formats))
	if !format {
		keys = slices.DeleteFunc(slices.Collect(maps.Keys(s.stages)), func(k Key) bool { return k.Always() || k[0][0] == '#' })
	}
	slices.SortFunc(keys, func(a, b Key) int { return slices.Compare(a[:], b[:]) })
	return keys
}

// List gives the files of a stage whose names begin with the path and match the pattern, if
// there is one, as a whole. The error is the pattern's.
func (s *Store) List(k Key, prefix, pattern string) ([]File, error) {
	match, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []File
	if st := s.find(k); st != nil {
		for _, name := range slices.Sorted(maps.Keys(st.files)) {
			if strings.HasPrefix(name, prefix) && (pattern == "" || match.MatchString(name)) {
				files = append(files, st.files[name])
			}
		}
	}
	return files, nil
}

// A Place is a stage with a path in it: a place for transfers.
type Place struct {
	Store *Store
	Stage Key
	Path  string
}

// ReadFile returns a file.
func (p Place) ReadFile(name string) ([]byte, bool) {
	f, ok := p.File(name)
	return f.Content, ok
}

// File returns a file with all that is known of it.
func (p Place) File(name string) (File, bool) {
	p.Store.mu.Lock()
	defer p.Store.mu.Unlock()
	st := p.Store.find(p.Stage)
	if st == nil {
		return File{}, false
	}
	f, ok := st.files[path.Join(p.Path, name)]
	return f, ok
}

// WriteFile keeps a file, unless the stage has gone meanwhile. Its sum is of more than the
// content: an account encrypts each upload with a key of its own, so that the same content
// has another sum each time.
func (p Place) WriteFile(name string, content []byte) {
	p.Store.mu.Lock()
	defer p.Store.mu.Unlock()
	if st := p.Store.find(p.Stage); st != nil {
		name, now := path.Join(p.Path, name), time.Now()
		seed := fmt.Sprint(now.UnixNano(), st.files[name].Sum)
		st.files[name] = File{name, content, fmt.Sprintf("%x", md5.Sum(append([]byte(seed), content...))), now}
	}
}

// Loaded reports whether a file was loaded into a table as it is.
func (s *Store) Loaded(l Load) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.loads, l)
}

// Record notes loads whose transaction was committed.
func (s *Store) Record(loads []Load) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads = append(s.loads, loads...)
}

// Unload forgets what was loaded into a table: it was emptied.
func (s *Store) Unload(table Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads = slices.DeleteFunc(s.loads, func(l Load) bool { return l.Table == table })
}
