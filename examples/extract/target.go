package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// This file writes a file that appears under its name only when it is complete.

// A target is a temporary file in the directory of the file that it becomes: a
// rename is atomic only within a file system.
type target struct {
	path string
	tmp  *os.File // nil when it was committed or discarded
}

// createTarget creates the temporary file. The file of that name, if there is
// one, is not touched; the new one will be as private as that is.
func createTarget(path string) (*target, error) {
	// A symbolic link stays one, and what it points to is replaced.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s is a symbolic link that leads nowhere", path)
	}
	// os.CreateTemp would make a file that only its owner may read.
	mode := fs.FileMode(0o666)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file, and a file cannot take its place", path)
		}
		mode = info.Mode().Perm()
	}
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8]+".tmp")
	tmp, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, fmt.Errorf("no file can be created in the directory %s: %w", filepath.Dir(path), errors.Unwrap(err))
	}
	return &target{path: path, tmp: tmp}, nil
}

// remains are the temporary files of earlier runs for the same file. One of them may
// belong to a run that still goes on, so they are only named.
func (t *target) remains() (names []string) {
	entries, err := os.ReadDir(filepath.Dir(t.path))
	if err != nil {
		return nil // it is only a hint
	}
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(t.path), e.Name())
		rest, ours := strings.CutPrefix(e.Name(), "."+filepath.Base(t.path)+".")
		if ours && len(rest) == len("ABCDEFGH.tmp") && strings.HasSuffix(rest, ".tmp") && name != t.tmp.Name() {
			names = append(names, name)
		}
	}
	return names
}

func (t *target) Write(p []byte) (int, error) { return t.tmp.Write(p) }

// commit gives the file its name, once what was written is on the disk: after a
// crash of the machine there is the old file or the new one, and neither is cut.
func (t *target) commit() error {
	if err := errors.Join(t.tmp.Sync(), t.tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(t.tmp.Name(), t.path); err != nil {
		return err
	}
	t.tmp = nil
	if runtime.GOOS == "windows" {
		return nil // it does not sync directories
	}
	dir, err := os.Open(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// discard removes the temporary file, unless it was committed.
func (t *target) discard() error {
	if t.tmp == nil {
		return nil
	}
	_ = t.tmp.Close() // commit may have closed it, and what is in it no longer matters
	err := os.Remove(t.tmp.Name())
	t.tmp = nil
	return err
}
