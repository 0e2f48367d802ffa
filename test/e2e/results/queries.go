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
	// Seconds is how long the lookup took, while the outside does what it should not.
	Seconds int `json:"seconds,omitzero"`
}

// Queries is the table of all lookups.
type Queries struct {
	Settings []string `json:"settings"`
	// Outside are states of the world outside of the cluster: the settings in each are those of outsideSettings.
	Outside []string `json:"outside,omitzero"`
	Cells   []Cell   `json:"cells"`
}

// OutsideSetting is the setting of a cell while the outside is in a state: who decides about fall-through, and whether the
// cluster DNS answers "svc." itself.
func OutsideSetting(state, gate string, template bool) string {
	if template {
		gate = "template, " + gate
	}
	return state + ": " + gate
}

// OfOutside takes a cell's setting apart; ok is false where it is another.
func OfOutside(c Cell) (state, setting string, ok bool) { return strings.Cut(c.Setting, ": ") }

// outsideSettings are the columns, the first to compare with.
var outsideSettings = []string{"default", "template, gate", "template, no gate", "gate", "no gate"}

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
	q.table(&b, q.Settings, sent)
	b.WriteString("\n## Received by the cluster DNS\n\n" +
		"The first lookup, with a node-local cache that is empty → the second.\n\n")
	q.table(&b, q.Settings, func(c, _ Cell) string { return fmt.Sprintf("%d → %d", c.Reached, c.RepeatedReached) })
	b.WriteString("\n## Conntrack entries created on the node\n\n" +
		"By the pod's queries. The cache's address is exempt from tracking (NOTRACK), as the upstream cache sets it up; the cache's own\n" +
		"TCP connections to the cluster DNS, a few that all pods of the node share, are not in these figures. musl ignores `use-vc`.\n\n")
	q.table(&b, q.Settings, func(c, _ Cell) string { return fmt.Sprint(c.Flows) })
	q.outside(&b)
	return b.String()
}

// outside writes a table for each state of the outside.
func (q *Queries) outside(b *strings.Builder) {
	if len(q.Outside) == 0 {
		return
	}
	b.WriteString("\n## Fall-through, whatever the outside does\n\n" +
		"Sent by a pod that has fall-through (glibc by `RES_OPTIONS`, Go by dnsConfig, musl not at all) or that the gate `upstream` keeps\n" +
		"from it, while the servers outside of the cluster answer that there is no such name, are silent, closed, or have an address for\n" +
		"every name. *template*: the cluster DNS answers `svc.` itself; *no gate*: `fallthrough.probe.enabled: false`. All these names exist;\n" +
		"✗: none, or an invented one, was the answer. Seconds are those of lookups that waited for a timeout, the shortest of which is 2.5 s (musl).\n")
	for _, state := range q.Outside {
		fmt.Fprintf(b, "\n### %s\n\n", state)
		q.tableOf(b, outsideSettings, func(setting string) string { return state + ": " + setting }, func(c, first Cell) string {
			text := sent(c, first)
			if c.Seconds >= 3 { // less is the machine
				text += fmt.Sprintf(" (%d s)", c.Seconds)
			}
			return text
		})
	}
}

// sent is a cell of what pods send, beside the one that it is compared with.
func sent(c, first Cell) string {
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
}

func (q *Queries) table(b *strings.Builder, settings []string, cell func(c, first Cell) string) {
	q.tableOf(b, settings, func(setting string) string { return setting }, cell)
}

// tableOf has a column for each setting, which of tells the cells', and a row for each name and resolver that has one.
func (q *Queries) tableOf(b *strings.Builder, settings []string, of func(setting string) string, cell func(c, first Cell) string) {
	b.WriteString("| name | | resolver | " + strings.Join(settings, " | ") + " |\n|---|---|---" + strings.Repeat("|--:", len(settings)) + "|\n")
	previous := ""
	for _, row := range q.rows() {
		first := q.Cell(row.Name, row.Resolver, of(settings[0]))
		if first == (Cell{}) {
			continue
		}
		name, kind := "`"+row.Name+"`", row.Kind
		if row.Name == previous {
			name, kind = "", ""
		}
		previous = row.Name
		fmt.Fprintf(b, "| %s | %s | %s |", name, kind, row.Resolver)
		for _, setting := range settings {
			fmt.Fprintf(b, " %s |", cell(q.Cell(row.Name, row.Resolver, of(setting)), first))
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
