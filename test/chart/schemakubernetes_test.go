package chart_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// kubernetesTypes are those that values pass on to the API server: what it would refuse, or drop without a word, the schema refuses
// first. Fields and types are those of the Go types, enumerations those of their constants, and the rest is in kubernetesLimits.
var kubernetesTypes = []any{
	corev1.Affinity{}, corev1.EnvVar{}, corev1.PodSecurityContext{}, corev1.ResourceRequirements{}, corev1.SecurityContext{},
	corev1.Toleration{}, corev1.Volume{}, corev1.VolumeMount{}, corev1.VolumeSource{}, metav1.LabelSelector{}, networkingv1.NetworkPolicyPeer{},
}

const (
	labelValue = `^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
	cidr       = `^(` + ipv4 + `/(3[0-2]|[12]?[0-9])|[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$`
	// quantity is what resource.ParseQuantity takes and a container may have: nothing below 0.
	quantity = `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$`
	// resourceNames are those of containers: the standard ones, and others with a domain.
	resourceNames = `^(cpu|memory|ephemeral-storage|hugepages-.+|.+/.+)$`
)

// quantities is the schema of one.
func quantities() object {
	return object{"type": []any{"number", "string"}, "minimum": 0, "pattern": quantity}
}

// kubernetesLimits are rules of the API server that the Go types do not have, by type, or type and field. nil: the chart has
// no place for what the field refers to. Not propertyNames, of which Helm says a wrong path.
var kubernetesLimits = map[string]object{
	"core.v1.AppArmorProfile":                 localhostProfile(),
	"core.v1.EnvVar.name":                     {"pattern": "^[^=]+$"},
	"core.v1.EnvVarSource":                    {"minProperties": 1, "maxProperties": 1},
	"core.v1.NodeSelector.nodeSelectorTerms":  {"minItems": 1},
	"core.v1.NodeSelectorRequirement":         operatorRule(),
	"core.v1.NodeSelectorRequirement.key":     {"pattern": "^" + labelKey + "$"},
	"core.v1.PodAffinityTerm.topologyKey":     {"pattern": "^" + labelKey + "$"},
	"core.v1.PodSecurityContext.fsGroup":      {"minimum": 0},
	"core.v1.PodSecurityContext.runAsGroup":   {"minimum": 0},
	"core.v1.PodSecurityContext.runAsUser":    {"minimum": 0},
	"core.v1.PreferredSchedulingTerm.weight":  {"minimum": 1, "maximum": 100},
	"core.v1.ResourceRequirements.claims":     nil,
	"core.v1.ResourceRequirements.limits":     {"patternProperties": object{resourceNames: quantities()}, "additionalProperties": false},
	"core.v1.ResourceRequirements.requests":   {"patternProperties": object{resourceNames: quantities()}, "additionalProperties": false},
	"core.v1.SeccompProfile":                  localhostProfile(),
	"core.v1.SecurityContext.runAsGroup":      {"minimum": 0},
	"core.v1.SecurityContext.runAsUser":       {"minimum": 0},
	"core.v1.Toleration.key":                  {"pattern": "^(" + labelKey + ")?$"},
	"core.v1.Toleration.value":                {"pattern": labelValue, "maxLength": 63},
	"core.v1.Volume.name":                     {"pattern": "^" + dnsLabel + "$"},
	"core.v1.VolumeMount.mountPath":           {"pattern": "^[^:]+$"},
	"core.v1.VolumeSource":                    {"maxProperties": 1},
	"core.v1.WeightedPodAffinityTerm.weight":  {"minimum": 1, "maximum": 100},
	"meta.v1.LabelSelector.matchLabels":       {"patternProperties": object{"^" + labelKey + "$": object{"type": "string", "pattern": labelValue, "maxLength": 63}}, "additionalProperties": false},
	"meta.v1.LabelSelectorRequirement":        operatorRule(),
	"meta.v1.LabelSelectorRequirement.key":    {"pattern": "^" + labelKey + "$"},
	"meta.v1.LabelSelectorRequirement.values": {"items": object{"type": "string", "pattern": labelValue, "maxLength": 63}},
	"networking.v1.IPBlock.cidr":              {"pattern": cidr},
	"networking.v1.IPBlock.except":            {"items": object{"type": "string", "pattern": cidr}},
	"networking.v1.NetworkPolicyPeer":         {"minProperties": 1},
}

// operatorRule: what is in or not in a set needs one, and what exists or does not has none.
func operatorRule() object {
	is := func(operators ...any) object {
		return object{"properties": object{"operator": object{"enum": operators}}, "required": []any{"operator"}}
	}
	return object{
		"if":   is("Exists", "DoesNotExist"),
		"then": object{"properties": object{"values": object{"maxItems": 0}}},
		"else": object{
			"required":   []any{"values"},
			"properties": object{"values": object{"minItems": 1}},
			"if":         is("Gt", "Lt"),
			"then":       object{"properties": object{"values": object{"maxItems": 1, "items": object{"pattern": "^-?[0-9]+$"}}}},
		},
	}
}

func localhostProfile() object {
	return object{
		"if":   object{"properties": object{"type": object{"const": "Localhost"}}, "required": []any{"type"}},
		"then": object{"required": []any{"localhostProfile"}},
		"else": object{"properties": object{"localhostProfile": object{"enum": []any{""}}}},
	}
}

// nullable are types in which null is how values take away what another file has set: OpenShift's runAsUser: null.
var nullable = []string{"core.v1.PodSecurityContext", "core.v1.SecurityContext"}

// kubernetesSchema adds the definitions of all kubernetesTypes.
func kubernetesSchema(t *testing.T, definitions object) {
	t.Helper()
	s := &typeSchema{definitions: definitions, enums: kubernetesEnums(t), used: map[string]bool{}}
	for _, value := range kubernetesTypes {
		s.define(t, reflect.TypeOf(value))
	}
	for at := range kubernetesLimits {
		if !s.used[at] {
			t.Errorf("kubernetesLimits: there is no %s", at)
		}
	}
}

type typeSchema struct {
	definitions object
	enums       map[string][]any
	used        map[string]bool
}

func definitionName(of reflect.Type) string {
	parts := strings.Split(of.PkgPath(), "/")
	return strings.Join(append(parts[len(parts)-2:], of.Name()), ".")
}

// define adds a struct and those that it needs, and returns a reference to it.
func (s *typeSchema) define(t *testing.T, of reflect.Type) object {
	t.Helper()
	name := definitionName(of)
	reference := object{"$ref": "#/$defs/" + name}
	if s.definitions[name] != nil {
		return reference
	}
	definition, properties := object{"type": "object", "additionalProperties": false}, object{}
	s.definitions[name] = definition
	required := s.fields(t, name, of, properties)
	definition["properties"] = properties
	if len(required) > 0 {
		definition["required"] = required
	}
	s.used[name] = true
	maps.Copy(definition, kubernetesLimits[name])
	return reference
}

// fields adds those of a struct, with those of the structs that it embeds, and returns the names of the required ones.
func (s *typeSchema) fields(t *testing.T, name string, of reflect.Type, properties object) (required []any) {
	t.Helper()
	for field := range of.Fields() {
		key, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if key == "" {
			required = append(required, s.fields(t, name, field.Type, properties)...)
			continue
		}
		at := name + "." + key
		limits, limited := kubernetesLimits[at]
		s.used[at] = true
		if limited && limits == nil {
			continue
		}
		optional := strings.Contains(options, "omit") || field.Type.Kind() == reflect.Slice && at != "core.v1.NodeSelector.nodeSelectorTerms"
		property := s.schemaOf(t, field.Type, optional)
		maps.Copy(property, limits)
		if kind, ok := property["type"].(string); ok && optional && kind != "object" && kind != "array" && slices.Contains(nullable, name) {
			property["type"] = []any{kind, "null"}
		}
		properties[key] = property
		if !optional {
			required = append(required, key)
		}
	}
	return required
}

func (s *typeSchema) schemaOf(t *testing.T, of reflect.Type, optional bool) object {
	t.Helper()
	switch of {
	case reflect.TypeFor[resource.Quantity]():
		return quantities()
	case reflect.TypeFor[intstr.IntOrString]():
		return object{"type": []any{"integer", "string"}}
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[[]byte]():
		return object{"type": "string"}
	case reflect.TypeFor[metav1.FieldsV1]():
		return object{"type": "object", "additionalProperties": true}
	}
	switch of.Kind() {
	case reflect.Pointer:
		return s.schemaOf(t, of.Elem(), optional)
	case reflect.Slice:
		return object{"type": "array", "items": s.schemaOf(t, of.Elem(), false)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.schemaOf(t, of.Elem(), false)}
	case reflect.Struct:
		return s.define(t, of)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.String:
		if values := s.enums[of.Name()]; values != nil {
			if optional {
				values = append(slices.Clone(values), "")
			}
			return object{"enum": values}
		}
		return object{"type": "string"}
	default:
		t.Fatalf("a field of type %s, of which the schema has no idea", of)
		return nil
	}
}

// kubernetesEnums are the constants of the string types that are marked as enumerations in the source.
func kubernetesEnums(t *testing.T) map[string][]any {
	t.Helper()
	enums := map[string][]any{"LabelSelectorOperator": {"In", "NotIn", "Exists", "DoesNotExist"}}
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "k8s.io/api/core/v1").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "types.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, declaration := range file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if doc := general.Doc; doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.Contains(c.Text, "+enum") }) {
					enums[spec.Name.Name] = []any{}
				}
			case *ast.ValueSpec:
				name, ok := spec.Type.(*ast.Ident)
				if !ok || enums[name.Name] == nil {
					continue
				}
				text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(enums[name.Name], any(text)) {
					enums[name.Name] = append(enums[name.Name], text)
				}
			}
		}
	}
	return enums
}

// The pattern of quantities takes what Kubernetes takes, but for what is below 0.
func TestQuantities(t *testing.T) {
	t.Parallel()
	pattern := regexp.MustCompile(quantity)
	for _, text := range []string{
		"0", "1", "100m", "0.5", ".5", "1.", "128Mi", "1Gi", "1k", "1K", "1M", "1e3", "1E3", "1e-3", "1E", "1Ei", "1u", "1n", "+1", "-1", "", "1MB", "1 Gi", "1mi", "one",
		"1.5.5", "1,5", "128MiB", "1g", "1GI", "1e", "1e+3", "0x10",
	} {
		parsed, err := resource.ParseQuantity(text)
		if want := err == nil && parsed.Sign() >= 0; pattern.MatchString(text) != want {
			t.Errorf("%q matches the pattern: %t, want %t (%v)", text, !want, want, err)
		}
	}
}

// Every enumeration that is used has values.
func TestEnumerationsOfKubernetes(t *testing.T) {
	t.Parallel()
	enums := kubernetesEnums(t)
	for _, name := range []string{"TaintEffect", "TolerationOperator", "NodeSelectorOperator", "SeccompProfileType", "MountPropagationMode", "HostPathType"} {
		if len(enums[name]) < 2 {
			t.Errorf("%s: %s", name, fmt.Sprint(enums[name]...))
		}
	}
}
