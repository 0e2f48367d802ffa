package results

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FailoverRow is one lookup of an external name while the node-local cache is in some state.
type FailoverRow struct {
	Cache, Setting, Resolver string
	Resolved                 bool
	Error                    string
	Milliseconds             float64
}

// Failover is the table of all of them.
type Failover struct{ Rows []FailoverRow }

// Markdown is the table for people: one column for each resolver.
func (f *Failover) Markdown() string {
	var resolvers []string
	for _, r := range f.Rows {
		if !slices.Contains(resolvers, r.Resolver) {
			resolvers = append(resolvers, r.Resolver)
		}
	}
	var b strings.Builder
	b.WriteString("# When the node-local cache fails\n\n" +
		"Measured by `make e2e` in running pods: how long one lookup of an external name (A and AAAA) takes, or with what error it ends.\n" +
		"Killed: the process is gone and its address stays, so queries are rejected. Hangs: queries are lost.\n" +
		"This file is generated: `make e2e-results`.\n\n" +
		"| the cache | pods with | " + strings.Join(resolvers, " | ") + " |\n|---|---" + strings.Repeat("|---", len(resolvers)) + "|\n")
	for i := 0; i < len(f.Rows); i += len(resolvers) {
		fmt.Fprintf(&b, "| %s | %s |", f.Rows[i].Cache, f.Rows[i].Setting)
		for _, r := range f.Rows[i : i+len(resolvers)] {
			if r.Resolved {
				fmt.Fprintf(&b, " %s |", duration(r.Milliseconds))
				continue
			}
			// Go's text ends with what the socket said; before that it repeats the name and addresses.
			reason := r.Error[strings.LastIndex(r.Error, ": ")+1:]
			fmt.Fprintf(&b, " ✗ %s, after %s |", strings.TrimSpace(reason), duration(r.Milliseconds))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// duration rounds to what differs from one resolver to another, and not from one run to the next.
func duration(milliseconds float64) string {
	if milliseconds < 100 {
		return "< 0.1 s"
	}
	return fmt.Sprintf("%.1f s", milliseconds/1000)
}

// Write writes failover.md to a folder.
func (f *Failover) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the folder of results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "failover.md"), []byte(f.Markdown()), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}
