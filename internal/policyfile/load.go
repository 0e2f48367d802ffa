package policyfile

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Load reads a policy file and compiles it. ownNamespace is excluded besides
// what the policy excludes; empty where there is none. The error lists
// everything that is wrong with the file, one line each.
func Load(path, ownNamespace string) (*policy.Compiled, error) {
	return readRegular(path).compile(path, ownNamespace)
}

// content is what reading the file gave.
type content struct {
	data []byte
	err  error
}

// read reads no more of a file than shows that it is too large.
func read(path string) content {
	file, err := os.Open(path)
	if err != nil {
		return content{nil, err}
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, policy.MaxSize+1))
	return content{data, err}
}

// equal reports whether two contents are the same, or are unreadable for the
// same reason.
func (c content) equal(other content) bool {
	if c.err != nil || other.err != nil {
		return c.err != nil && other.err != nil && c.err.Error() == other.err.Error()
	}
	return bytes.Equal(c.data, other.data)
}

func (c content) compile(path, ownNamespace string) (*policy.Compiled, error) {
	if c.err != nil {
		return nil, fmt.Errorf("reading the policy file: %w", c.err)
	}
	document, err := policy.Parse(c.data)
	if err != nil {
		return nil, fmt.Errorf("policy file %s:\n%w", path, err)
	}
	compiled, err := policy.Compile(document, ownNamespace)
	if err != nil {
		return nil, fmt.Errorf("policy file %s:\n%w", path, err)
	}
	return compiled, nil
}
