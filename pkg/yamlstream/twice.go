package yamlstream

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Twice names the keys of a YAML or JSON document that are there twice, as
// ToJSON's error does; empty for none. A key that a mapping has besides one that
// it merges (<<) is no such key: ToJSON refuses it, but to override what is
// merged is what people write it for. One that stands before the merge is: what
// is merged counts then, in kubectl too.
func (d Document) Twice() string {
	_, err := d.ToJSON()
	if err == nil {
		return ""
	}
	if d.JSON || !bytes.Contains(d.Text, []byte("<<")) {
		_, keys, _ := strings.Cut(err.Error(), ": ")
		return keys
	}
	var document yaml.Node
	if yaml.Unmarshal(d.Text, &document) != nil {
		return ""
	}
	var found []string
	d.twice(&document, &found)
	return strings.Join(found, " ")
}

func (d Document) twice(node *yaml.Node, found *[]string) {
	if node.Kind == yaml.MappingNode {
		type id struct{ tag, value string }
		seen := map[id]bool{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			keys := []*yaml.Node{key}
			if key.ShortTag() == "!!merge" {
				keys = append(keys, mergedKeys(node.Content[i+1], map[*yaml.Node]bool{})...)
			}
			for _, k := range keys {
				if seen[id{k.ShortTag(), k.Value}] {
					*found = append(*found, fmt.Sprintf("line %d: key %q already set in map", key.Line+d.Line-1, k.Value))
				}
			}
			seen[id{key.ShortTag(), key.Value}] = true
		}
	}
	for _, child := range node.Content {
		d.twice(child, found)
	}
}

// mergedKeys returns the keys of what is merged: a mapping, or several.
func mergedKeys(node *yaml.Node, visited map[*yaml.Node]bool) (keys []*yaml.Node) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if visited[node] {
		return nil
	}
	visited[node] = true
	for i, child := range node.Content {
		switch {
		case node.Kind == yaml.SequenceNode:
			keys = append(keys, mergedKeys(child, visited)...)
		case node.Kind != yaml.MappingNode || i%2 != 0:
		case child.ShortTag() == "!!merge":
			keys = append(keys, mergedKeys(node.Content[i+1], visited)...)
		default:
			keys = append(keys, child)
		}
	}
	return keys
}
