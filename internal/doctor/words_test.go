package doctor

import (
	"errors"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/test/hostile"
)

// What a check repeats of the cluster, of certificates and of answers is one
// line of printable characters, in JSON too: the help pipes it through jq -r.
func TestResultsOfHostileFacts(t *testing.T) {
	t.Parallel()
	for _, text := range hostile.Texts() {
		t.Run(text.Name, func(t *testing.T) {
			t.Parallel()
			j := passed("found %s", text.Text)
			j.lacks(errors.New(text.Text))
			j.warn("do "+text.Text, "a warning about %s", text.Text)
			j.fail("do "+text.Text, "a failure of %s", text.Text)
			r := j.result("gates")
			for _, shown := range append(r.Items, r.Found, r.Do) {
				if raw := hostile.Raw([]byte(shown), ""); raw != "" || strings.Contains(shown, "\n") || len(shown) > 32<<10 {
					t.Errorf("%d bytes, with %s: %.200q", len(shown), raw, shown)
				}
			}
		})
	}
}
