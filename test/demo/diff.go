package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlLines returns the view as lines of YAML, its fields in the order of the types.
func (v podView) yamlLines() ([]string, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a pod: %w", err)
	}
	// JSON is YAML. A node keeps the order of the fields, which a map would not.
	var node yaml.Node
	if err := yaml.Unmarshal(encoded, &node); err != nil {
		return nil, fmt.Errorf("encoding a pod: %w", err)
	}
	clearStyle(&node)
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(&node); err != nil {
		return nil, fmt.Errorf("encoding a pod: %w", err)
	}
	return strings.Split(strings.TrimSpace(text.String()), "\n"), nil
}

// clearStyle turns JSON's braces and quotes into the usual style of YAML.
func clearStyle(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		clearStyle(child)
	}
}

// diffLines merges two texts: lines of both begin with two spaces, lines of only one with "- " or "+ ". A field whose
// value differs has both lines next to each other.
func diffLines(before, after []string) []string {
	// best[i][j] is the highest sum of likeness with which before[i:] and after[j:] can be paired, in order.
	best := make([][]int, len(before)+1)
	for i := range best {
		best[i] = make([]int, len(after)+1)
	}
	for i := range slices.Backward(before) {
		for j := range slices.Backward(after) {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if like := likeness(before[i], after[j]); like > 0 {
				best[i][j] = max(best[i][j], best[i+1][j+1]+like)
			}
		}
	}
	var merged []string
	for i, j := 0, 0; i < len(before) || j < len(after); {
		switch {
		case j < len(after) && (i == len(before) || best[i][j] == best[i][j+1]):
			merged = append(merged, "+ "+after[j])
			j++
		case i < len(before) && (j == len(after) || best[i][j] == best[i+1][j]):
			merged = append(merged, "- "+before[i])
			i++
		case before[i] == after[j]:
			merged = append(merged, "  "+before[i])
			i, j = i+1, j+1
		default:
			merged = append(merged, "- "+before[i], "+ "+after[j])
			i, j = i+1, j+1
		}
	}
	return merged
}

// likeness is high for equal lines, low for two values of the same field, and else zero.
func likeness(a, b string) int {
	if a == b {
		return 4
	}
	keyA, _, _ := strings.Cut(a, ": ")
	keyB, _, _ := strings.Cut(b, ": ")
	if keyA == keyB && !strings.HasPrefix(strings.TrimSpace(keyA), "- ") {
		return 1
	}
	return 0
}
