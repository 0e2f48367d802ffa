package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// cacheVersion is part of the folder: what another version found is not read. It is
// raised when an entry has another form, and when internal/rootfs judges otherwise.
const cacheVersion = "v4"

// maxCached bounds an entry.
const maxCached = 1 << 20

// cache keeps what was found by digest, in memory and, with a folder, in files
// of it. What has a digest never changes, so nothing in it gets old.
type cache struct{ folder string }

// openCache makes the folder; "" is a cache that keeps nothing.
func openCache(folder string) (*cache, error) {
	if folder == "" {
		return &cache{}, nil
	}
	folder = filepath.Join(folder, cacheVersion)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	return &cache{folder}, nil
}

// entry is what is kept of a digest.
type entry struct {
	// Digest is that of the entry itself: a file that was copied under another
	// name is not taken for what it is not.
	Digest string `json:"digest"`
	Found  Found  `json:"found"`
	// Children are the digests of an index's images.
	Children []string `json:"children,omitzero"`
	// Configs are the digests of the configurations of the images that were read,
	// by which container runtimes know images that they did not pull.
	Configs []string `json:"configs,omitzero"`
}

// file is the name for a digest and the platforms that were asked for, neither
// of which has a character that no file's name may have.
func (c *cache) file(key string) string {
	return filepath.Join(c.folder, strings.NewReplacer(":", "-", "/", "_", " ", "+").Replace(key)+".json")
}

// get returns nil for what is not in the cache, or cannot be read there.
func (c *cache) get(key string) *entry {
	if c.folder == "" {
		return nil
	}
	file, err := os.Open(c.file(key))
	if err != nil {
		return nil
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxCached))
	if err != nil {
		return nil
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil || e.Digest != key || !e.Found.Valid() {
		return nil
	}
	return &e
}

// put writes an entry as a whole or not at all.
func (c *cache) put(key string, e *entry) (err error) {
	if c.folder == "" {
		return nil
	}
	e.Digest = key
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(c.folder, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if removed := os.Remove(file.Name()); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
				err = errors.Join(err, removed)
			}
		}
	}()
	if _, err := file.Write(data); err != nil {
		_ = file.Close() // the write's error is the one to tell
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), c.file(key))
}
