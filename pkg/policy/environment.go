package policy

import (
	"cmp"
	"slices"
	"strings"
)

// Variable returns what the container's env makes of a variable, with the
// references that it has. set is false where env does not name it; seen is false
// where its value comes from elsewhere: by valueFrom, or by a reference to a
// variable that does.
func (c *Container) Variable(name string) (value string, set, seen bool) {
	if !slices.ContainsFunc(c.Env, func(v EnvVar) bool { return v.Name == name }) {
		return "", false, true
	}
	e := environment{variables: map[string]string{}, more: bool(c.EnvFrom)}
	for i := range c.Env {
		e.add(&c.Env[i])
	}
	value = e.variables[name]
	if strings.Contains(value, unseen) {
		return "", true, false
	}
	return value, true, true
}

// unseen stands for text that cannot be seen here. No environment variable can hold
// a NUL.
const unseen = "\x00"

// maxExpanded bounds, in bytes, what references to variables become in one
// container: each may repeat the one before. An environment that is larger does
// not fit a process on Linux (its stack, 8 MiB by default, has a quarter for it).
const maxExpanded = 2 << 20

// environment is a container's, as far as it can be seen.
type environment struct {
	variables map[string]string
	// more is true where there are variables that cannot be seen.
	more bool
	// expanded counts the bytes that references became.
	expanded int
}

// add sets a variable as kubelet does (makeEnvironmentVariables): in order, so
// that a reference sees what comes before it, and the last of one name wins.
func (e *environment) add(v *EnvVar) {
	switch {
	case v.Value != "":
		e.variables[v.Name] = e.expand(v.Value)
	case v.ValueFrom != EnvVarSource{}:
		e.variables[v.Name] = unseen
	default:
		e.variables[v.Name] = ""
	}
}

// first returns the first of two variables that is not empty.
func (e *environment) first(name, other string) string {
	return cmp.Or(e.variables[name], e.variables[other])
}

// expand replaces references to variables by kubelet's rules
// (third_party/forked/golang/expansion): $(NAME) is a reference, $$ is a $, and
// all else stays, references to what is not set among it.
func (e *environment) expand(value string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(value, '$')
		if i < 0 || i == len(value)-1 {
			b.WriteString(value)
			return b.String()
		}
		b.WriteString(value[:i])
		value = value[i:]
		end := strings.IndexByte(value, ')')
		switch {
		case value[1] == '$':
			b.WriteByte('$')
			value = value[2:]
		case value[1] == '(' && end > 0:
			b.WriteString(e.resolve(value[2:end], value[:end+1]))
			value = value[end+1:]
		default:
			b.WriteString(value[:2])
			value = value[2:]
		}
	}
}

// resolve returns what a reference becomes.
func (e *environment) resolve(name, reference string) string {
	value, ok := e.variables[name]
	switch {
	case !ok && e.more, e.expanded+len(value) > maxExpanded:
		return unseen
	case !ok:
		return reference
	}
	e.expanded += len(value)
	return value
}
