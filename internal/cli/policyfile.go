package cli

import (
	"errors"
	"strings"

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
		if data, err = s.read(file); err != nil {
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

// finding is something to say about a field of a document. Field is empty
// where it is about the whole document.
type finding struct {
	Field   string `json:"field,omitzero"`
	Message string `json:"message"`
}

func (f finding) String() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

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
	return finding{path, message}
}
