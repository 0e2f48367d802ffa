// Package results writes what the end-to-end tests have measured: tables, JSON and pictures for docs/results.
package results

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Cell is one lookup (A and AAAA) of a name, by a resolver, under a setting.
type Cell struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Resolver string `json:"resolver"`
	Setting  string `json:"setting"`
	// Resolved says whether there was an answer.
	Resolved bool `json:"resolved"`
	// Queries is what the pod has sent, to whichever server.
	Queries int `json:"queries"`
	// Reached is how many queries the cluster DNS has got, with a node-local cache that knew nothing before;
	// RepeatedReached the same when the name is looked up once more.
	Reached         int `json:"reached"`
	RepeatedReached int `json:"repeatedReached"`
	// Flows is how many conntrack entries the pod's queries have created on the node.
	Flows int `json:"flows"`
}

// Queries is the table of all lookups.
type Queries struct {
	Settings []string `json:"settings"`
	Cells    []Cell   `json:"cells"`
}

// Cell finds one; the zero Cell stands for none.
func (q *Queries) Cell(name, resolver, setting string) Cell {
	i := slices.IndexFunc(q.Cells, func(c Cell) bool { return c.Name == name && c.Resolver == resolver && c.Setting == setting })
	if i < 0 {
		return Cell{}
	}
	return q.Cells[i]
}

// rows are the distinct pairs of name and resolver, grouped by name.
func (q *Queries) rows() []Cell {
	var rows, grouped []Cell
	for _, c := range q.Cells {
		if !slices.ContainsFunc(rows, func(r Cell) bool { return r.Name == c.Name && r.Resolver == c.Resolver }) {
			rows = append(rows, c)
		}
	}
	for _, r := range rows {
		if slices.ContainsFunc(grouped, func(g Cell) bool { return g.Name == r.Name }) {
			continue
		}
		for _, other := range rows {
			if other.Name == r.Name {
				grouped = append(grouped, other)
			}
		}
	}
	return grouped
}

// Markdown is the table for people. The first setting is what the others are compared with.
func (q *Queries) Markdown() string {
	var b strings.Builder
	b.WriteString("# DNS queries per lookup\n\n" +
		"Measured by `make e2e` in real pods under a real kubelet, counted in the query logs of the DNS servers. One lookup asks for\n" +
		"A and AAAA. Three search domains (`<namespace>.svc.cluster.local svc.cluster.local cluster.local`), one cluster DNS.\n" +
		"This file is generated: `make e2e-results`.\n\n" +
		"## Sent by the pod\n\n" +
		"**bold**: fewer than by default; ▲: more; ✗: the name does not resolve.\n\n")
	q.table(&b, q.Settings, func(c, first Cell) string {
		text := fmt.Sprint(c.Queries)
		switch {
		case !c.Resolved:
			text += " ✗"
		case c.Queries < first.Queries:
			text = "**" + text + "**"
		case c.Queries > first.Queries:
			text += " ▲"
		}
		return text
	})
	b.WriteString("\n## Received by the cluster DNS\n\n" +
		"The first lookup, with a node-local cache that is empty → the second.\n\n")
	q.table(&b, q.Settings, func(c, _ Cell) string { return fmt.Sprintf("%d → %d", c.Reached, c.RepeatedReached) })
	b.WriteString("\n## Conntrack entries created on the node\n\n" +
		"By the pod's queries. The cache's address is exempt from tracking (NOTRACK), as the upstream cache sets it up; the cache's own\n" +
		"TCP connections to the cluster DNS, a few that all pods of the node share, are not in these figures. musl ignores `use-vc`.\n\n")
	q.table(&b, q.Settings, func(c, _ Cell) string { return fmt.Sprint(c.Flows) })
	return b.String()
}

func (q *Queries) table(b *strings.Builder, settings []string, cell func(c, first Cell) string) {
	b.WriteString("| name | | resolver | " + strings.Join(settings, " | ") + " |\n|---|---|---" + strings.Repeat("|--:", len(settings)) + "|\n")
	previous := ""
	for _, row := range q.rows() {
		name, kind := "`"+row.Name+"`", row.Kind
		if row.Name == previous {
			name, kind = "", ""
		}
		previous = row.Name
		fmt.Fprintf(b, "| %s | %s | %s |", name, kind, row.Resolver)
		first := q.Cell(row.Name, row.Resolver, settings[0])
		for _, setting := range settings {
			fmt.Fprintf(b, " %s |", cell(q.Cell(row.Name, row.Resolver, setting), first))
		}
		b.WriteByte('\n')
	}
}

// Write writes queries.md, queries.json and queries.svg to a folder.
func (q *Queries) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the folder of results: %w", err)
	}
	encoded, err := json.MarshalIndent(q, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	picture, err := q.picture()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"queries.md": []byte(q.Markdown()), "queries.json": append(encoded, '\n'), "queries.svg": picture,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return nil
}
