package cli

import (
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/manifest"
)

// manifestReader reads what -f names, as kubectl does: a file, or the files of a
// folder that end in .json, .yaml or .yml, in the order of their names; with
// recursive those of folders below it too. Links to folders are not followed.
type manifestReader struct {
	manifest.Reader
	streams   *Streams
	recursive bool
	files     int
}

// add reads a file or a folder. The error is for what was named; what is in a
// folder and cannot be read is a problem as others are.
func (r *manifestReader) add(name string) error {
	if name == stdinName {
		data, err := r.streams.read(name)
		if err != nil {
			return err
		}
		r.files++
		r.Read(displayName(name), data)
		return nil
	}
	before := r.files
	subfolders, err := r.open(name)
	if err != nil {
		return failure("cannot read %s: %v", name, withoutPath(err))
	}
	if r.files == before {
		hint := ""
		if subfolders && !r.recursive {
			hint = " (-R reads the folders below it)"
		}
		return failure("cannot read %s: the folder has no files that end in .%s%s", name, strings.Join(yamlExtensions, ", ."), hint)
	}
	return nil
}

// open reads a file, or what is in a folder. It is opened once: it may be a pipe.
func (r *manifestReader) open(name string) (subfolders bool, err error) {
	file, err := r.streams.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	if folder, ok := file.(fs.ReadDirFile); ok {
		if info, err := folder.Stat(); err == nil && info.IsDir() {
			entries, err := folder.ReadDir(-1)
			if err != nil {
				return false, err
			}
			return r.folder(name, entries), nil
		}
	}
	r.files++
	data, err := io.ReadAll(file)
	if err != nil {
		return false, err
	}
	r.Read(name, data)
	return false, nil
}

func (r *manifestReader) folder(folder string, entries []fs.DirEntry) (subfolders bool) {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries {
		name := filepath.Join(folder, entry.Name())
		mode := entry.Type()
		subfolders = subfolders || mode.IsDir()
		isFile := mode.IsRegular() || mode&fs.ModeSymlink != 0 // a pipe may have no end
		isManifest := isFile && slices.Contains(yamlExtensions, strings.TrimPrefix(filepath.Ext(name), "."))
		if !isManifest && (!mode.IsDir() || !r.recursive) {
			continue
		}
		if _, err := r.open(name); err != nil {
			r.Problems = append(r.Problems, manifest.Problem{
				Place: manifest.Place{File: name}, Finding: finding{Message: "cannot be read: " + withoutPath(err).Error()},
			})
		}
	}
	return subfolders
}
