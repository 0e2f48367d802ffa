package mutate

import (
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
)

func add(path string, value any) jsonpatch.Operation {
	return jsonpatch.Operation{Operation: "add", Path: path, Value: value}
}

func replace(path string, value any) jsonpatch.Operation {
	return jsonpatch.Operation{Operation: "replace", Path: path, Value: value}
}

func remove(path string) jsonpatch.Operation {
	return jsonpatch.Operation{Operation: "remove", Path: path}
}

// escape makes a key a token of a JSON Pointer (RFC 6901, section 4).
var escape = strings.NewReplacer("~", "~0", "/", "~1").Replace

// mapOperations sets a key of a string map at path to value, or takes it out
// where value is nil. The map is created where it is missing.
func mapOperations(ops []jsonpatch.Operation, path string, have map[string]string, key string, value *string) []jsonpatch.Operation {
	old, present := have[key]
	switch {
	case value == nil && present:
		return append(ops, remove(path+"/"+escape(key)))
	case value == nil || present && old == *value:
		return ops
	case len(have) == 0:
		return append(ops, add(path, map[string]string{key: *value}))
	}
	return append(ops, add(path+"/"+escape(key), *value))
}

// listOperations turns the list at path from have into want, with the
// operations that touch the least:
//
//	have is want                 nothing
//	have is empty                the list is added
//	want is empty                the list is removed
//	have ends want               what is missing is inserted at the front
//	have begins want             what is missing is appended
//	have is in want, in order    what is missing is inserted
//	want is in have, in order    what is too much is removed, the last first
//	otherwise                    the list is replaced
func listOperations[T any](ops []jsonpatch.Operation, path string, have, want []T, same func(a, b T) bool) []jsonpatch.Operation {
	missing := len(want) - len(have)
	switch {
	case missing == 0 && slices.EqualFunc(have, want, same):
		return ops
	case len(have) == 0:
		return append(ops, add(path, want))
	case len(want) == 0:
		return append(ops, remove(path))
	case missing > 0 && slices.EqualFunc(have, want[missing:], same):
		for i, value := range want[:missing] {
			ops = append(ops, add(path+"/"+strconv.Itoa(i), value))
		}
		return ops
	case missing > 0 && slices.EqualFunc(have, want[:len(have)], same):
		for _, value := range want[len(have):] {
			ops = append(ops, add(path+"/-", value))
		}
		return ops
	}
	if inserted, ok := notIn(want, have, same); ok {
		for _, i := range inserted {
			ops = append(ops, add(path+"/"+strconv.Itoa(i), want[i]))
		}
		return ops
	}
	if removed, ok := notIn(have, want, same); ok {
		for _, i := range slices.Backward(removed) {
			ops = append(ops, remove(path+"/"+strconv.Itoa(i)))
		}
		return ops
	}
	return append(ops, replace(path, want))
}

// notIn returns the indices in long of what is not in short. ok is false where
// long does not have all of short, in order.
func notIn[T any](long, short []T, same func(a, b T) bool) (indices []int, ok bool) {
	for i, value := range long {
		if len(short) > 0 && same(value, short[0]) {
			short = short[1:]
		} else {
			indices = append(indices, i)
		}
	}
	return indices, len(short) == 0
}
