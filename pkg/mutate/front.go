package mutate

import (
	"cmp"
	"slices"
)

// Nameservers and searches of ours go in front of the user's. An entry that the user
// names as well is written once, at our place: of two, kubelet too keeps the first
// (appendDNSConfig, omitDuplicates). The record says how many entries in front are
// counted as ours, and for each of these that is the user's, its index in the pod and
// its index in the user's list, so that Undo can put it back:
//
//	ours     the user's     the pod gets     counted   moved
//	a b      x              a b x            2
//	a b      a b x          a b x            0
//	a b      b x            a b x            1
//	a b      a x            a b x            2         [0 0]: a, first in both
//	a b      x a            a b x            2         [0 1]: a, first here, second in the user's list

// Moved is an entry of the user's among those that are counted as ours: its
// index now, and its index in the user's list.
type Moved [2]int

// putInFront returns the user's list with ours in front, how many entries of it
// are counted, and which of those are the user's.
func putInFront(user []string, ours ...[]string) (list []string, counted int, moved []Moved) {
	n := len(user)
	for _, values := range ours {
		n += len(values)
	}
	list = make([]string, 0, n)
	for _, values := range ours {
		for _, value := range values {
			if slices.Contains(list, value) {
				continue
			}
			if i := slices.Index(user, value); i >= 0 {
				moved = append(moved, Moved{len(list), i})
			}
			list = append(list, value)
		}
	}
	counted = len(list)
	for i, value := range user {
		if !slices.ContainsFunc(moved, func(m Moved) bool { return m[1] == i }) {
			list = append(list, value)
		}
	}
	// Where the last counted entries and all that follows are the end of the user's list
	// as it was, they are not counted: nothing of ours is among them.
	for len(moved) > 0 {
		last := moved[len(moved)-1]
		if last[0] != counted-1 || !slices.Equal(list[last[0]:], user[last[1]:]) {
			break
		}
		moved, counted = moved[:len(moved)-1], counted-1
	}
	return list, counted, moved
}

// takeFromFront is the inverse of putInFront. Every moved entry must be within
// bounds (movedWithin).
func takeFromFront(list []string, counted int, moved []Moved) []string {
	user := nilIfEmpty(slices.Clone(list[counted:]))
	for _, m := range byUserIndex(moved) {
		user = slices.Insert(user, m[1], list[m[0]])
	}
	return user
}

// movedWithin reports whether takeFromFront can put every moved entry back.
func movedWithin(moved []Moved, counted, length int) bool {
	if len(moved) > counted {
		return false
	}
	for i, m := range byUserIndex(moved) {
		if m[0] < 0 || m[0] >= counted || m[1] < 0 || m[1] > length-counted+i {
			return false
		}
	}
	return true
}

func byUserIndex(moved []Moved) []Moved {
	return slices.SortedFunc(slices.Values(moved), func(a, b Moved) int { return cmp.Compare(a[1], b[1]) })
}
