package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// advisedPolicy is what the rules go into where no policy is named.
const advisedPolicy = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata:
  name: advised
spec:
  rules: []
`

// writeRules writes the policy with rules for what is recommended. Of a policy
// that is given as text, order and comments are kept. leftOut are workloads that
// get no rule.
func writeRules(b *bytes.Buffer, p *advisePolicy, report *advisor.Report, all []advisor.WorkloadKey) (leftOut advisor.LeftOut, err error) {
	text := p.text
	if text == nil {
		text = []byte(advisedPolicy)
	}
	rules, leftOut := advisor.Rules(report, all, p.document.Spec.Rules)
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return leftOut, err
	}
	if len(root.Content) == 0 {
		return leftOut, errors.New("the policy is empty")
	}
	list := childNode(childNode(root.Content[0], "spec", yaml.MappingNode), "rules", yaml.SequenceNode)
	if list.Content, err = placed(rules, list.Content); err != nil {
		return leftOut, err
	}
	if len(list.Content) > 0 {
		list.Style &^= yaml.FlowStyle
	}
	escapeComments(&root)
	encoder := yaml.NewEncoder(b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&root); err != nil {
		return leftOut, err
	}
	if _, err := policy.Parse(b.Bytes()); err != nil {
		return leftOut, fmt.Errorf("the rules do not fit into the policy: %w", err)
	}
	return leftOut, nil
}

// placed puts rules among those that are there: each before the one that it
// names, those that name none before the first that was made so earlier, else
// at the end.
func placed(rules []advisor.AdvisedRule, there []*yaml.Node) (all []*yaml.Node, err error) {
	add := func(before string) error {
		for i := range rules {
			if rules[i].Before != before {
				continue
			}
			node, err := nodeOf(&rules[i].Rule)
			if err != nil {
				return err
			}
			node.HeadComment = "confidence: " + string(rules[i].Confidence)
			if n := rules[i].Workloads; n > 1 {
				node.HeadComment += fmt.Sprintf(", the least of %d workloads", n)
			}
			all = append(all, node)
		}
		return nil
	}
	last := false
	for _, rule := range there {
		name := scalar(rule, "name")
		if !last && strings.HasPrefix(name, advisor.RulePrefix) {
			last = true
			if err := add(""); err != nil {
				return nil, err
			}
		}
		if name != "" {
			if err := add(name); err != nil {
				return nil, err
			}
		}
		all = append(all, rule)
	}
	if !last {
		err = add("")
	}
	return all, err
}

// escapeComments escapes what is not printable in comments: whoever reads the
// policy on a terminal sees what is there. Letters of other scripts stay.
func escapeComments(n *yaml.Node) {
	for _, comment := range []*string{&n.HeadComment, &n.LineComment, &n.FootComment} {
		if strings.IndexFunc(*comment, hidden) < 0 {
			continue
		}
		var b strings.Builder
		for _, r := range *comment {
			if hidden(r) {
				quoted := strconv.QuoteRuneToASCII(r)
				b.WriteString(quoted[1 : len(quoted)-1])
			} else {
				b.WriteRune(r)
			}
		}
		*comment = b.String()
	}
	for _, child := range n.Content {
		escapeComments(child)
	}
}

func hidden(r rune) bool { return r != '\n' && !unicode.IsPrint(r) && r != '\t' }

// someWorkloads names the first few.
func someWorkloads(keys []advisor.WorkloadKey) string {
	const shown = 5
	var named []string
	for _, k := range keys[:min(len(keys), shown)] {
		named = append(named, workloadName(k.Kind, k.Name)+" in "+printable.Name(k.Namespace))
	}
	if more := len(keys) - shown; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(named, ", ")
}

// childNode finds a field of a mapping, or adds it.
func childNode(parent *yaml.Node, key string, kind yaml.Kind) *yaml.Node {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value == key {
			child := parent.Content[i+1]
			if child.Kind == yaml.AliasNode {
				child = child.Alias
			}
			if child.Kind == yaml.ScalarNode { // null
				*child = yaml.Node{Kind: kind}
			}
			return child
		}
	}
	child := &yaml.Node{Kind: kind}
	parent.Content = append(parent.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, child)
	return child
}

func scalar(parent *yaml.Node, key string) string {
	if parent.Kind == yaml.AliasNode {
		parent = parent.Alias
	}
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value == key {
			return parent.Content[i+1].Value
		}
	}
	return ""
}

// nodeOf is a rule as YAML with its fields in their order.
func nodeOf(rule *policy.Rule) (*yaml.Node, error) {
	encoded, err := json.Marshal(rule)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(encoded, &node); err != nil { // JSON is YAML in flow style
		return nil, err
	}
	var plain func(n *yaml.Node)
	plain = func(n *yaml.Node) {
		n.Style = 0
		if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		for _, child := range n.Content {
			plain(child)
		}
	}
	plain(node.Content[0])
	return node.Content[0], nil
}
