// Package advicefile keeps the advice in force in step with a file, or with the
// files of a folder: the parts of one document, as ConfigMaps are mounted.
package advicefile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// File is a file's content.
type File struct {
	Name string
	Data []byte
}

// Load reads and compiles what there is at a path. Advice is nil where there is
// no file: it is optional. The error lists everything that is wrong.
func Load(path string) (*policy.Advice, error) {
	files, err := read(path)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	parts, err := parse(files, policy.ParseAdviceToDecide)
	if err != nil {
		return nil, err
	}
	return policy.CompileAdvice(parts...)
}

// Parse reads documents, each of which may be gzipped. Together they have at most
// policy.MaxAdviceSize bytes.
func Parse(files []File) ([]*policy.DNSAdvice, error) { return parse(files, policy.ParseAdvice) }

func parse(files []File, read func([]byte) (*policy.DNSAdvice, error)) ([]*policy.DNSAdvice, error) {
	var parts []*policy.DNSAdvice
	var errs []error
	left := int64(policy.MaxAdviceSize)
	for _, file := range files {
		text, err := unzipped(file.Data, left)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file.Name, err))
			continue
		}
		left -= int64(len(text))
		part, err := read(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:\n%w", file.Name, err))
			continue
		}
		parts = append(parts, part)
	}
	return parts, errors.Join(errs...)
}

var errTooLarge = fmt.Errorf("too large: advice has at most %d bytes", policy.MaxAdviceSize)

// unzipped unpacks what begins as gzip does, up to a limit.
func unzipped(data []byte, limit int64) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		if int64(len(data)) > limit {
			return nil, errTooLarge
		}
		return data, nil
	}
	unzip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not valid gzip: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(unzip, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("not valid gzip: %w", err)
	case int64(len(text)) > limit:
		return nil, errTooLarge
	}
	return text, nil
}

// read returns the file at a path, or those of a folder, none where there is
// nothing. Names that begin with a dot are kubelet's own.
func read(path string) ([]File, error) {
	names, err := list(path)
	if err != nil {
		return nil, err
	}
	var files []File
	left := int64(policy.MaxAdviceSize)
	for _, name := range names {
		data, err := readOne(name, left+1)
		if err != nil {
			return nil, err
		}
		if left -= int64(len(data)); left < 0 {
			return nil, fmt.Errorf("%s: %w", name, errTooLarge)
		}
		if len(data) > 0 { // a ConfigMap whose key is empty says nothing yet
			files = append(files, File{name, data})
		}
	}
	return files, nil
}

func readOne(name string, limit int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit))
}

// list returns the regular files at a path, sorted.
func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Mode().IsRegular():
		return []string{path}, nil
	case !info.IsDir():
		return nil, fmt.Errorf("%s is neither a regular file nor a folder", path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		name := filepath.Join(path, entry.Name())
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, err
		case info.Mode().IsRegular():
			names = append(names, name)
		case !info.IsDir():
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
	}
	return names, nil
}
