package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
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
// that is given as text, order and comments are kept.
func writeRules(b *bytes.Buffer, text []byte, document *policy.InjectionPolicy, report *advisor.Report, all []advisor.WorkloadKey) error {
	if text == nil {
		text = []byte(advisedPolicy)
	}
	rules := advisor.Rules(report, all, document.Spec.Rules)
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return err
	}
	if len(root.Content) == 0 {
		return errors.New("the policy is empty")
	}
	list := childNode(childNode(root.Content[0], "spec", yaml.MappingNode), "rules", yaml.SequenceNode)
	var content []*yaml.Node
	add := func(before string) error {
		for i := range rules {
			if rules[i].Before != before {
				continue
			}
			node, err := nodeOf(&rules[i].Rule)
			if err != nil {
				return err
			}
			content = append(content, node)
		}
		return nil
	}
	placed := false
	for _, rule := range list.Content {
		name := scalar(rule, "name")
		if !placed && strings.HasPrefix(name, advisor.RulePrefix) {
			placed = true
			if err := add(""); err != nil {
				return err
			}
		}
		if name != "" {
			if err := add(name); err != nil {
				return err
			}
		}
		content = append(content, rule)
	}
	if !placed {
		if err := add(""); err != nil {
			return err
		}
	}
	list.Content = content
	if len(list.Content) > 0 {
		list.Style &^= yaml.FlowStyle
	}
	encoder := yaml.NewEncoder(b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&root); err != nil {
		return err
	}
	if _, err := policy.Parse(b.Bytes()); err != nil {
		return fmt.Errorf("the rules do not fit into the policy: %w", err)
	}
	return nil
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
