package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// results are what a run has measured. They are kept as JSON too, for the page about growth.
type results struct {
	Machine   machine
	Handler   []handlerRow
	Decide    []decideRow
	Footprint footprint
	Serving   []servingRow
	Creates   []createRow
	Large     large
	QueryLogs *queryLogs `json:",omitempty"` // nil in those of older runs
}

// machine is where they were measured.
type machine struct {
	CPU                                 string
	Cores                               int
	MemoryMiB                           float64
	Kernel, Go, Kubernetes, Date, Lasts string
}

func (b *bench) machine() (m machine, err error) {
	version, err := b.cluster.Client.Discovery().ServerVersion()
	if err != nil {
		return m, fmt.Errorf("asking for the API server's version: %w", err)
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return m, fmt.Errorf("asking for the kernel's version: %w", err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("asking for the memory's size: %w", err)
	}
	release := unix.ByteSliceToString(kernel.Release[:])
	if numbers := strings.SplitN(release, ".", 3); len(numbers) == 3 { // what follows names a distribution or a provider
		release = numbers[0] + "." + numbers[1]
	}
	return machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), MemoryMiB: float64(info.Totalram) * float64(info.Unit) / (1 << 20),
		Kernel: "Linux " + release, Go: runtime.Version(), Kubernetes: version.GitVersion,
		Date: time.Now().UTC().Format(time.DateOnly), Lasts: time.Since(b.began).Round(time.Second).String(),
	}, nil
}

func cpuModel() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(content)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
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
