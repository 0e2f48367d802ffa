package mutate

import "testing"

// What a forged record says of the user's entries is believed only where they can be put back.
func TestMovedEntriesAreWithinTheList(t *testing.T) {
	t.Parallel()
	list := []string{"a", "b", "c"}
	for _, c := range []struct {
		moved   []Moved
		counted int
		want    bool
	}{
		{nil, 0, true}, {nil, -1, false},
		{[]Moved{{0, 0}}, 1, true}, {[]Moved{{1, 1}}, 2, true}, {[]Moved{{0, 2}}, 1, true}, {[]Moved{{0, 2}, {1, 0}}, 2, true},
		{[]Moved{{-1, 0}}, 1, false}, {[]Moved{{1, 0}}, 1, false}, {[]Moved{{0, -1}}, 1, false}, {[]Moved{{0, 3}}, 1, false},
		{[]Moved{{0, 2}, {1, 1}}, 2, true}, {[]Moved{{0, 3}, {1, 0}}, 2, false}, {[]Moved{{0, 0}, {0, 1}}, 1, false},
	} {
		if got := movedWithin(c.moved, c.counted, len(list)); got != c.want {
			t.Errorf("%v of %d: %t, want %t", c.moved, c.counted, got, c.want)
		} else if got {
			takeFromFront(list, c.counted, c.moved)
		}
	}
}
