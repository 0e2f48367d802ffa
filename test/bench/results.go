package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shorthop/shorthop/test/measured"
)

// results are what a run has measured. They are kept as JSON too, for the page about growth.
type results struct {
	Machine   measured.Machine
	Handler   []handlerRow
	Decide    []decideRow
	Footprint footprint
	Serving   []servingRow
	Creates   []createRow
	Large     large
	QueryLogs *queryLogs `json:",omitempty"` // nil in those of older runs
}

func (b *bench) machine() (m measured.Machine, err error) {
	version, err := b.cluster.Client.Discovery().ServerVersion()
	if err != nil {
		return m, fmt.Errorf("asking for the API server's version: %w", err)
	}
	return measured.DescribeMachine(version.GitVersion, b.began)
}

// handlerRow is a captured review; costs are by handler.
type handlerRow struct {
	Review string
	Bytes  int
	// CPU in µs and allocations of a review.
	CPU, Allocations map[string]float64
	// Ratio is the median of Shorthop's CPU divided by the other's in the same round.
	Ratio map[string]float64
}

// handlers runs the benchmark in which the handlers take turns.
func handlers(ctx context.Context, lasting time.Duration) ([]handlerRow, error) {
	found, err := goBench(ctx, "./internal/admission", "^BenchmarkRatios$", "-benchtime", lasting.String())
	if err != nil {
		return nil, err
	}
	var rows []handlerRow
	for _, benchmark := range found {
		_, name, _ := strings.Cut(benchmark.Name, "/")
		row := handlerRow{
			Review: name, Bytes: int(benchmark.Metrics["bytes"]),
			CPU: map[string]float64{}, Allocations: map[string]float64{}, Ratio: map[string]float64{},
		}
		for unit, value := range benchmark.Metrics {
			what, handler, _ := strings.Cut(unit, "-")
			if into := map[string]map[string]float64{"us": row.CPU, "allocs": row.Allocations, "ratio": row.Ratio}[what]; into != nil {
				into[handler] = value
			}
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, errors.New("the benchmark of the handlers printed nothing")
	}
	slices.SortFunc(rows, func(a, b handlerRow) int { return a.Bytes - b.Bytes })
	return rows, nil
}

// decideRow is one decision under that many rules, of which the last one matches.
type decideRow struct {
	Rules              int
	NS, Allocations, B float64
}

func decide(ctx context.Context, lasting time.Duration) ([]decideRow, error) {
	found, err := goBench(ctx, "./pkg/policy", "^BenchmarkDecide$", "-count", "5", "-benchtime", (lasting / 16).String())
	if err != nil {
		return nil, err
	}
	var rows []decideRow
	for _, benchmark := range found {
		_, number, _ := strings.Cut(benchmark.Name, "/rules=")
		rules, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("reading benchmark %s: %w", benchmark.Name, err)
		}
		rows = append(rows, decideRow{
			Rules: rules, NS: benchmark.Metrics["ns/op"], Allocations: benchmark.Metrics["allocs/op"], B: benchmark.Metrics["B/op"],
		})
	}
	if len(rows) == 0 {
		return nil, errors.New("the benchmark of Decide printed nothing")
	}
	return rows, nil
}

const (
	resultsFile = "docs/results/bench.json"
	queriesFile = "docs/results/queries.json"
)

// publish prints the tables and writes the pages that are made from them.
func (r *results) publish() error {
	fmt.Print("\n", r.tables())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	queries, err := readQueries(queriesFile)
	if err != nil {
		return err
	}
	for file, content := range map[string]string{
		resultsFile:             string(text) + "\n",
		"docs/results/bench.md": r.page(),
		"docs/growth.md":        growthPage(r, queries),
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return fmt.Errorf("writing the results: %w", err)
		}
	}
	return nil
}

func readResults(file string) (*results, error) {
	var r results
	return &r, readJSON(file, &r)
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}
