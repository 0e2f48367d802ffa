package podlist_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/podlist"
	"github.com/shorthop/shorthop/pkg/advisor"
)

const (
	podA  = `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"a"},"spec":{"containers":[{"name":"c","image":"x"}]},"status":{"podIP":"10.0.0.1"}}`
	podB  = `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"b"}}`
	yamlA = "apiVersion: v1\nkind: Pod\nmetadata:\n  namespace: shop\n  name: a\n"
)

func TestDecodeReadsEveryShape(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file string
		want []string
	}{
		"a list":                             {`{"apiVersion":"v1","kind":"List","items":[` + podA + `,` + podB + `],"metadata":{}}`, []string{"shop/a", "shop/b"}},
		"a list, its items first":            {`{"items":[` + podA + `],"kind":"PodList"}`, []string{"shop/a"}},
		"items without a kind":               {`{"kind":"PodList","items":[{"metadata":{"namespace":"shop","name":"a"}}]}`, []string{"shop/a"}},
		"two lists, one behind the other":    {`{"items":[` + podA + `]}` + "\n" + `{"items":[` + podB + `]}`, []string{"shop/a", "shop/b"}},
		"two lists in an array, by jq -s":    {`[{"items":[` + podA + `]},{"items":[` + podB + `]}]`, []string{"shop/a", "shop/b"}},
		"an array":                           {"[" + podA + ",\n" + podB + "]", []string{"shop/a", "shop/b"}},
		"JSON lines":                         {podA + "\n" + podB + "\n", []string{"shop/a", "shop/b"}},
		"one pod":                            {podA, []string{"shop/a"}},
		"a byte order mark, and blank lines": {"\xef\xbb\xbf\r\n\n" + podA, []string{"shop/a"}},
		"YAML":                               {yamlA, []string{"shop/a"}},
		"YAML, several documents":            {"# a comment\n---\n" + yamlA + "---\n---\n" + strings.ReplaceAll(yamlA, "name: a", "name: b"), []string{"shop/a", "shop/b"}},
		"YAML, a list":                       {"apiVersion: v1\nkind: List\nitems:\n- metadata: {namespace: shop, name: a}\n  kind: Pod\n- " + podB + "\n", []string{"shop/a", "shop/b"}},
		"items of the list's kind":           {`{"kind":"ServiceList","apiVersion":"v1","items":[{"metadata":{"namespace":"shop","name":"a"}},` + podB + `]}`, []string{"Service shop/a", "shop/b"}},
		"a list of lists":                    {`{"kind":"List","items":[{"kind":"NamespaceList","items":[{"metadata":{"name":"shop"}}]},{"metadata":{"namespace":"shop","name":"a"}}]}`, []string{"Namespace /shop", "shop/a"}},
		"pods, and their list's kind behind": {`{"items":[{"metadata":{"namespace":"shop","name":"a"}}],"kind":"PodList"}`, []string{"shop/a"}},
		"YAML of the list's kind":            {"kind: ServiceList\nitems:\n- metadata: {namespace: shop, name: a}\n", []string{"Service shop/a"}},
		"an empty list, its kind behind":     {`{"items":[],"kind":"ServiceList"}`, nil},
		"an empty list":                      {`{"items":[]}`, nil},
		"an empty array":                     {"[]", nil},
		"nothing":                            {" \n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			err := podlist.Decode(strings.NewReader(test.file), func(p *advisor.Pod) {
				kind := ""
				if p.Kind != "" && p.Kind != "Pod" {
					kind = p.Kind + " "
				}
				got = append(got, kind+p.Metadata.Namespace+"/"+p.Metadata.Name)
			})
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ file, want string }{
		"JSON that breaks off":                   {`{"items":[` + podA + `,{"metadata"`, "behind byte"},
		"JSON lines with another":                {podA + "\nhello\n", "behind byte 154: "},
		"a list of strings":                      {`["a"]`, "want objects"},
		"a field of another kind":                {`{"kind":"Pod","metadata":7}`, "metadata"},
		"Services, and their list's kind behind": {`{"items":[{"metadata":{"namespace":"shop","name":"a"}}],"kind":"ServiceList"}`, "let the kind stand first"},
		"lists in lists":                         {strings.Repeat("[", 20), "lists in lists"},
		"a table":                                {"NAMESPACE  NAME\nshop       a\n", "line 1: want objects"},
		"YAML that is none":                      {"a: b: c\n", "line 1: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := podlist.Decode(strings.NewReader(test.file), func(*advisor.Pod) {})
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
