package mutate

import (
	"cmp"
	"slices"
)

// Nameservers and searches of ours go in front of the user's, and what the user
// names too is written once. That is also what kubelet makes of two
// (appendDNSConfig, omitDuplicates): the first of each stays. So the user's
// entry moves to where ours would stand, and the record says where it stood:
//
//	ours     the user's     the pod gets     counted   the user's of them
//	a b      x              a b x            2
//	a b      a b x          a b x            0
//	a b      b x            a b x            1
//	a b      a x            a b x            2         [0 0]: a, the user's first
//	a b      x a            a b x            2         [0 1]: a, the user's second

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
	// The last that are counted may stand as the user wrote them: then they and
	// what follows are simply the user's.
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
	user := slices.Clone(list[counted:])
	for _, m := range byUserIndex(moved) {
		user = slices.Insert(user, m[1], list[m[0]])
	}
	return user
}

// movedWithin reports whether takeFromFront can put every moved entry back, which
// it cannot where counted is negative.
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
