package cli

import (
	"errors"
	"strings"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
)

// builtInPolicy is what explain uses where no policy is named: the policy with
// nothing but defaults.
const builtInPolicy = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata:
  name: built-in
spec:
  dns: {}
`

// loadPolicy reads a policy file. No file means the built-in policy.
func (s *Streams) loadPolicy(file string) (*policy.InjectionPolicy, error) {
	data := []byte(builtInPolicy)
	if file != "" {
		var err error
		if data, err = s.readPolicy(file); err != nil {
			return nil, err
		}
	}
	document, err := policy.Parse(data)
	if err != nil {
		var lines []string
		for _, e := range singleErrors(err) {
			lines = append(lines, displayName(file)+": "+e.String())
		}
		return nil, invalid(lines)
	}
	return document, nil
}

// givenPolicy reads a policy file; nil where none is named.
func (s *Streams) givenPolicy(file string) (*policy.InjectionPolicy, error) {
	if file == "" {
		return nil, nil
	}
	return s.loadPolicy(file)
}

// readPolicy reads no more of a file than shows that it is too large for a policy.
func (s *Streams) readPolicy(file string) ([]byte, error) {
	return s.readAtMost(file, policy.MaxSize+1)
}

// finding is something to say about a field of a document.
type finding = manifest.Finding

// singleErrors takes apart what policy.Parse joins. Its errors begin with a
// field's path, unless they are about the whole document.
func singleErrors(err error) []finding {
	joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err)
	if !ok {
		return []finding{errorFinding(err)}
	}
	var all []finding
	for _, e := range joined.Unwrap() {
		all = append(all, singleErrors(e)...)
	}
	return all
}

func errorFinding(err error) finding {
	text := strings.Join(strings.Fields(err.Error()), " ") // one line each
	path, message, found := strings.Cut(text, ": ")
	if !found || strings.Contains(path, " ") {
		return finding{Message: text}
	}
	return finding{Field: path, Message: message}
}
