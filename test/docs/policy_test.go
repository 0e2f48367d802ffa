package docs

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/policytypes"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

const policyPage = "../../docs/policy.md"

const policyIntroduction = `# The policy

Generated from the code: ` + "`go test ./test/docs -update`" + `. A policy is one YAML document with the ` + "`apiVersion`" + ` %s,
the ` + "`kind`" + ` %s, a ` + "`metadata.name`" + ` (a DNS subdomain, by default %s), and the ` + "`spec`" + ` below. Unknown and duplicate fields are errors. So is what YAML takes for something else than it looks: keys that are no strings, tags, merge keys (` + "`<<`" + `), numbers that are not plain decimal, words such as ` + "`on`" + ` in the place of a string (` + "`mode: Off`" + ` is understood), line breaks other than line feeds, and characters that turn the direction of text. Aliases are taken. ` + "`kubectl shorthop lint FILE`" + ` lists every
error of a policy and warns of what is valid and perhaps not meant, ` + "`kubectl shorthop explain`" + ` says what it does to a pod.

The server follows the file without a restart. A policy that is not valid is not taken over: the one before stays in force.

` + "`[]`" + ` in a path stands for the elements of a list. Where the text gives a range or a number of characters, other values
are errors. A field without a default is empty, or what the text says.
`

// defaultsOf is a document that has every default: they are those of its
// blocks that it leaves open. A rule has none.
const defaultsOf = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
spec:
  serviceHost: {host: api.example.com}
  dns: {}
  rules: [{name: needs-the-cache, dns: {mode: NodeLocal}}]
`

func TestPolicyPageIsUpToDate(t *testing.T) {
	t.Parallel()
	types, err := policytypes.Parse("../../pkg/policy/types.go")
	if err != nil {
		t.Fatal(err)
	}
	page := &policyPageWriter{t: t, types: types, described: map[string]string{}, defaults: defaults(t)}
	page.introduction()
	page.section("spec", "Spec")
	example := testfile.Read(t, "../../examples/policy.yaml")
	fmt.Fprintf(page, "\n## Example\n\n[examples/policy.yaml](../examples/policy.yaml):\n\n```yaml\n%s```\n", example)
	for name := range types.Structs {
		// The document itself is in the introduction.
		if page.described[name] == "" && name != policy.Kind {
			t.Errorf("%s is in no section of the page", name)
		}
	}
	testfile.Expect(t, policyPage, page.String())
}

// defaults has the value of every field that has a default, as JSON, by path.
func defaults(t *testing.T) map[string]string {
	t.Helper()
	var written map[string]any
	if err := yaml.Unmarshal([]byte(defaultsOf), &written); err != nil {
		t.Fatal(err)
	}
	parsed := reviewtest.Parse(t, defaultsOf)
	encoded := jsontest.Marshal(t, parsed)
	defaulted := jsontest.Decode[map[string]any](t, encoded)
	found := map[string]string{}
	var collect func(path string, value, written any)
	collect = func(path string, value, written any) {
		if object, ok := value.(map[string]any); ok {
			said, _ := written.(map[string]any)
			for key := range object {
				collect(strings.TrimPrefix(path+"."+key, "."), object[key], said[key])
			}
			return
		}
		if written != nil {
			return
		}
		text := jsontest.Marshal(t, value)
		found[path] = string(text)
	}
	collect("", defaulted, written)
	return found
}

type policyPageWriter struct {
	strings.Builder
	t     *testing.T
	types *policytypes.Types
	// described has the section of each struct that has one.
	described map[string]string
	defaults  map[string]string
}

func (page *policyPageWriter) introduction() {
	fmt.Fprintf(page, policyIntroduction, "`"+policy.APIVersion+"`", "`"+policy.Kind+"`", page.defaultOf("metadata.name"))
}

func (page *policyPageWriter) defaultOf(path string) string {
	value, ok := page.defaults[path]
	if !ok {
		return ""
	}
	var word string
	if json.Unmarshal([]byte(value), &word) == nil {
		value = word
	}
	return "`" + value + "`"
}

// section writes the table of a struct, and the sections of those in it that
// have none yet.
func (page *policyPageWriter) section(path, name string) {
	page.described[name] = path
	structure := page.types.Structs[name]
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n| field | type | default | meaning |\n|---|---|---|---|\n", path, meaningOf(path, name, structure.Doc))
	type block struct{ path, name string }
	var blocks []block
	for _, field := range structure.Fields {
		at := path + "." + field.Key
		kind, object := page.typeOf(field.Type)
		if object != "" {
			if _, list := elementOf(field.Type); list {
				at += "[]"
			}
			section, known := page.described[object]
			if !known {
				section = at
				page.described[object] = at
				blocks = append(blocks, block{at, object})
			}
			kind = fmt.Sprintf(kind, "["+section+"](#"+anchor(section)+")")
		}
		meaning := field.Doc
		if meaning == "" {
			meaning = page.types.Structs[object].Doc
		}
		if meaning == "" {
			page.t.Errorf("types.go: %s has no comment", at)
		}
		page.checkDefault(path+"."+field.Key, object, field.Doc)
		meaning = meaningOf(field.Key, field.Name, meaning)
		if field.Required {
			meaning += " Required."
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s%s |\n", path+"."+field.Key, kind, page.defaultOf(path+"."+field.Key), meaning, page.values(field.Type))
	}
	for _, b := range blocks {
		page.section(b.path, b.name)
	}
}

// inEffective are fields whose default is filled in where a rule is laid over the policy (Spec.Effective), since it goes by who
// names the block.
var inEffective = map[string]string{"spec.serviceHost.enabled": "true", "spec.dns.enabled": "true"}

var saidDefault = regexp.MustCompile(`[Dd]efaults\s+to\s+(\S+)`)

// checkDefault compares what a comment says of the default of a field with the code. Lists, and what is said in words ("none",
// "that of the policy"), are not compared. A default that is false need not be filled in: it would change every policy's hash.
func (page *policyPageWriter) checkDefault(at, object, comment string) {
	match := saidDefault.FindStringSubmatch(comment)
	if match == nil || object != "" {
		return
	}
	said, inCode := strings.TrimRight(match[1], ".,;:"), strings.Trim(page.defaultOf(at), "`")
	if inCode == "" {
		inCode = inEffective[at]
	}
	isValue := regexp.MustCompile(`^(true|\d[\w.%]*)$`).MatchString(said) // false may be left empty
	if isValue && inCode == "" {
		page.t.Errorf("types.go: the comment of %s says that it defaults to %s, and SetDefaults (default.go) leaves it empty", at, said)
	}
	if inCode != "" && !strings.HasPrefix(inCode, "[") && said != inCode {
		page.t.Errorf("types.go: the comment of %s says that it defaults to %s, the code makes it %s", at, said, inCode)
	}
}

// typeOf names a type for people. Where it is a struct of the document, object
// is its name and kind has a %s for the link to it.
func (page *policyPageWriter) typeOf(expression ast.Expr) (kind, object string) {
	switch expression := expression.(type) {
	case *ast.StarExpr:
		return page.typeOf(expression.X)
	case *ast.ArrayType:
		kind, object = page.typeOf(expression.Elt)
		return "list of " + kind, object
	case *ast.MapType:
		kind, object = page.typeOf(expression.Value)
		return "map of " + kind, object
	case *ast.SelectorExpr:
		switch name := expression.X.(*ast.Ident).Name + "." + expression.Sel.Name; name {
		case "metav1.Duration":
			return "duration such as `30s`", ""
		case "intstr.IntOrString":
			return "number or percentage", ""
		case "metav1.LabelSelector":
			return "[label selector](https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/)", ""
		}
	case *ast.Ident:
		switch name := expression.Name; name {
		case "string":
			return "string", ""
		case "bool":
			return "`true` or `false`", ""
		case "int32":
			return "number", ""
		default:
			if values, ok := page.types.Enums[name]; ok {
				var all []string
				for _, value := range values {
					all = append(all, "`"+value.Text+"`")
				}
				return strings.Join(all, ", "), ""
			}
			return "%s", name
		}
	}
	page.t.Fatalf("types.go has a field of type %s, of which the page has no idea", reflect.TypeOf(expression))
	return "", ""
}

// values says what the values of an enumeration mean.
func (page *policyPageWriter) values(expression ast.Expr) string {
	element, _ := elementOf(expression)
	name, ok := element.(*ast.Ident)
	if !ok {
		return ""
	}
	var all strings.Builder
	for _, value := range page.types.Enums[name.Name] {
		rest, found := strings.CutPrefix(value.Doc, value.Name)
		if !found {
			page.t.Errorf("types.go: the comment of %s does not begin with its name", value.Name)
		}
		fmt.Fprintf(&all, "<br>`%s`%s", value.Text, unmarked(rest))
	}
	return all.String()
}

func elementOf(expression ast.Expr) (element ast.Expr, list bool) {
	switch expression := expression.(type) {
	case *ast.StarExpr:
		return elementOf(expression.X)
	case *ast.ArrayType:
		return expression.Elt, true
	}
	return expression, false
}

// meaningOf is a comment of types.go as Markdown. It begins with the name in Go,
// which is another one in the document.
func meaningOf(name, goName, comment string) string {
	if rest, found := strings.CutPrefix(comment, goName); found {
		return "`" + name + "`" + unmarked(rest)
	}
	return unmarked(comment)
}

// unmarked takes their meaning from the characters that Markdown knows.
func unmarked(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", "&lt;", "|", `\|`).Replace(text)
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".[]", r) {
			return -1
		}
		return r
	}, strings.ToLower(heading))
}
