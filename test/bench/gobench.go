package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// benchmark is one line of `go test -bench`.
type benchmark struct {
	// Name has neither the word Benchmark nor the number of CPUs: "Decide/rules=10".
	Name string
	// Metrics by unit: "ns/op", "allocs/op" and what the benchmark reports itself.
	Metrics map[string]float64
}

// goBench runs benchmarks of a package of this repository. Where they run more than once (-count), each metric is the
// median.
func goBench(ctx context.Context, pkg, pattern string, args ...string) ([]benchmark, error) {
	args = append([]string{"test", "-run", "^$", "-bench", pattern, "-benchmem"}, append(args, pkg)...)
	command := exec.CommandContext(ctx, "go", args...)
	output, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("running the benchmarks of %s: %w\n%s", pkg, err, output)
	}
	return parseBenchmarks(output)
}

// parseBenchmarks reads the format of https://go.dev/design/14313-benchmark-format.
func parseBenchmarks(output []byte) ([]benchmark, error) {
	var order []string
	values := map[string]map[string][]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		if values[name] == nil {
			order = append(order, name)
			values[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("reading a benchmark: %w in %q", err, lines.Text())
			}
			values[name][fields[i+1]] = append(values[name][fields[i+1]], value)
		}
	}
	found := make([]benchmark, 0, len(order))
	for _, name := range order {
		b := benchmark{Name: name, Metrics: map[string]float64{}}
		for unit, all := range values[name] {
			b.Metrics[unit] = quantile(all, 0.5)
		}
		found = append(found, b)
	}
	return found, nil
}
