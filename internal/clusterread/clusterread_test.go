package clusterread_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/clusterread"
)

func TestListGoesOnWhereTheAPIServerKeepsItNoLonger(t *testing.T) {
	t.Parallel()
	expired := func(further string) error {
		err := apierrors.NewResourceExpired("expired")
		err.ErrStatus.Continue = further
		return err
	}
	for name, test := range map[string]struct {
		expired map[string]error
		want    []string
		err     bool
	}{
		"a list of three pages":                          {nil, []string{"a", "b", "c"}, false},
		"a list that expires once":                       {map[string]error{"2": expired("2 of now")}, []string{"a", "b", "c"}, false},
		"a list that expires at two pages":               {map[string]error{"2": expired("2 of now"), "3": expired("3 of now")}, []string{"a", "b", "c"}, false},
		"a list that expires twice in a row":             {map[string]error{"2": expired("2 of now"), "2 of now": expired("2 of now")}, nil, true},
		"a list that has expired without a way to go on": {map[string]error{"2": expired("")}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := clusterread.List(t.Context(), "services", "a=b", func(_ context.Context, o metav1.ListOptions) ([]string, string, error) {
				if o.LabelSelector != "a=b" || o.Limit == 0 {
					t.Errorf("asked with %+v", o)
				}
				switch token := o.Continue; {
				case test.expired[token] != nil:
					return nil, "", test.expired[token]
				case token == "":
					return []string{"a"}, "2", nil
				case token[0] == '2':
					return []string{"b"}, "3", nil
				}
				return []string{"c"}, "", nil
			})
			if !slices.Equal(got, test.want) || (err != nil) != test.err || test.err && !errors.As(err, new(apierrors.APIStatus)) {
				t.Errorf("got %v, %v; want %v, error: %t", got, err, test.want, test.err)
			}
		})
	}
}
