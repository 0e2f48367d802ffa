package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/test/loggen"
	"github.com/shorthop/shorthop/test/measured"
)

// queryLogs is what `kubectl-shorthop advise` takes for a long log.
type queryLogs struct {
	Lines, MiB, Clients, Workloads int64
	// Seconds from start to report, and CPU of both cores.
	Seconds, CPU float64
	// PeakMiB is the resident memory at its highest (VmHWM).
	PeakMiB float64
	// SplitLines is the lines that were only split into fields, in SplitSeconds.
	SplitLines   int64
	SplitSeconds float64
	// JSON is the same for JSON lines, as a container runtime and Fluent Bit write them.
	JSON *queryLogs `json:",omitempty"`
}

func (q *queryLogs) perSecond() float64 { return float64(q.Lines) / q.Seconds }

// ratio is the time for a line, of that for splitting it into fields.
func (q *queryLogs) ratio() float64 {
	return q.Seconds / float64(q.Lines) / (q.SplitSeconds / float64(q.SplitLines))
}

// logClients is how many pods are in the log, each a workload of its own.
const logClients = 10_000

// logDays is in how many days the same lines are written down: a line that is read again would be one that is left out.
const logDays = 6

// queryLogs lets the program that users have read a log of at least so many lines: a block of 10,000 pods, a day in a file
// each, which are read again and again, so that neither generating nor keeping them counts. A quarter as many lines are only
// split before, and another quarter after.
func (b *bench) queryLogs(ctx context.Context, lines int64) (*queryLogs, error) {
	pods, log := filepath.Join(b.dir, "pods.json"), filepath.Join(b.dir, "dns.log")
	inBlock, err := writeBlock(pods, log)
	if err != nil {
		return nil, err
	}
	times := int((lines + inBlock - 1) / inBlock)
	days, err := writeDays(log)
	if err != nil {
		return nil, err
	}
	logs := slices.Repeat(days, (times+logDays-1)/logDays)
	q := &queryLogs{Clients: logClients}
	split := func() error {
		start := time.Now()
		for range max(1, times/4) {
			n, err := splitFields(log)
			if err != nil {
				return err
			}
			q.SplitLines += n
		}
		q.SplitSeconds += time.Since(start).Seconds()
		return nil
	}
	if err := split(); err != nil {
		return nil, err
	}
	if err := q.advise(ctx, pods, logs[:times]); err != nil {
		return nil, err
	}
	var inJSON []string
	for _, day := range days {
		name := day + ".jsonl"
		if err := writeJSONLines(day, name); err != nil {
			return nil, err
		}
		inJSON = append(inJSON, name)
	}
	q.JSON = &queryLogs{Clients: logClients}
	if err := q.JSON.advise(ctx, pods, slices.Repeat(inJSON, (times+logDays-1)/logDays)[:max(1, times/4)]); err != nil {
		return nil, err
	}
	if want := int64(times) * inBlock; q.Lines != want {
		return nil, fmt.Errorf("advise has read %d lines of %d", q.Lines, want)
	}
	return q, split()
}

// writeBlock writes the pods of a simulated cluster and their log.
func writeBlock(pods, log string) (lines int64, err error) {
	cluster := loggen.New(loggen.Options{Seed: 1, Workloads: logClients, Lookups: 20, Timestamps: true, Loss: 5})
	list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": cluster.Pods()})
	if err != nil {
		return 0, fmt.Errorf("encoding the pods: %w", err)
	}
	if err := os.WriteFile(pods, list, 0o600); err != nil {
		return 0, fmt.Errorf("writing the pods: %w", err)
	}
	file, err := os.Create(log)
	if err != nil {
		return 0, fmt.Errorf("writing the log: %w", err)
	}
	counted := &lineCounter{w: file}
	_, err = cluster.Write(counted)
	if err := errors.Join(err, file.Close()); err != nil {
		return 0, fmt.Errorf("writing the log: %w", err)
	}
	return counted.lines, nil
}

// writeDays writes the lines of a log once more for each further day, and returns all files.
func writeDays(log string) ([]string, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	files := []string{log}
	first := text[:len(time.DateOnly)]
	for d := 1; d < logDays; d++ {
		day, err := time.Parse(time.DateOnly, string(first))
		if err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
		name := fmt.Sprintf("%s.%d", log, d)
		shifted := bytes.ReplaceAll(text, append([]byte("\n"), first...), []byte("\n"+day.AddDate(0, 0, d).Format(time.DateOnly)))
		copy(shifted, day.AddDate(0, 0, d).Format(time.DateOnly))
		if err := os.WriteFile(name, shifted, 0o600); err != nil {
			return nil, fmt.Errorf("writing the log: %w", err)
		}
		files = append(files, name)
	}
	return files, nil
}

// writeJSONLines writes the lines of a log as Fluent Bit does with its kubernetes filter.
func writeJSONLines(log, name string) error {
	in, err := os.Open(log)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	defer in.Close()
	out, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("writing JSON lines: %w", err)
	}
	w := bufio.NewWriterSize(out, 1<<20)
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		at, line, _ := strings.Cut(scanner.Text(), " ")
		quoted, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("writing JSON lines: %w", err)
		}
		fmt.Fprintf(w, `{"stream":"stdout","_p":"F","log":%s,"kubernetes":{"pod_name":"node-local-dns-x7k2p","namespace_name":"kube-system","host":"node-1","container_name":"node-cache"},"time":%q}`+"\n", quoted, at)
	}
	if err := errors.Join(scanner.Err(), w.Flush(), out.Close()); err != nil {
		return fmt.Errorf("writing JSON lines: %w", err)
	}
	return nil
}

type lineCounter struct {
	w     io.Writer
	lines int64
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines += int64(bytes.Count(p, []byte("\n")))
	return c.w.Write(p)
}

// splitFields is the least that a reader of logs does.
func splitFields(name string) (lines int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, fmt.Errorf("splitting lines: %w", err)
	}
	defer file.Close()
	fields := 0
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for scanner.Scan() {
		fields += len(bytes.Fields(scanner.Bytes()))
		lines++
	}
	if err := scanner.Err(); err != nil || fields < int(lines) {
		return 0, fmt.Errorf("splitting lines: %d fields in %d: %w", fields, lines, err)
	}
	return lines, nil
}

// advise runs the command. It is done when it begins to write its report, which no pipe has room for: what it then has had
// at the peak is all that it ever needs.
func (q *queryLogs) advise(ctx context.Context, pods string, logs []string) error {
	args := append([]string{"advise", "--pods", pods, "-o", "json"}, logs...)
	command := exec.CommandContext(ctx, "bin/kubectl-shorthop", args...)
	var message bytes.Buffer
	command.Stderr = &message
	out, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("running advise: %w", err)
	}
	start := time.Now()
	if err := command.Start(); err != nil {
		return fmt.Errorf("running advise: %w", err)
	}
	report := bufio.NewReader(out)
	_, _ = report.Peek(1) // that there is none is found out below
	q.Seconds = time.Since(start).Seconds()
	peak, memoryErr := peakOf(command.Process.Pid)
	var got struct {
		Source struct {
			Lines, Bytes, Queries int64
		} `json:"source"`
		Workloads []struct{} `json:"workloads"`
	}
	decodeErr := json.NewDecoder(report).Decode(&got)
	_, _ = io.Copy(io.Discard, report) // so that it can end
	var exit *exec.ExitError
	if err := command.Wait(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: it recommends something
		return fmt.Errorf("running advise: %w\n%s", err, &message)
	}
	if err := errors.Join(memoryErr, decodeErr); err != nil {
		return fmt.Errorf("reading what advise prints: %w", err)
	}
	if got.Source.Queries != got.Source.Lines || len(got.Workloads) != logClients {
		return fmt.Errorf("advise found %d queries in %d lines, and %d workloads", got.Source.Queries, got.Source.Lines, len(got.Workloads))
	}
	q.Lines, q.MiB, q.Workloads, q.PeakMiB = got.Source.Lines, got.Source.Bytes>>20, int64(len(got.Workloads)), peak
	q.CPU = (command.ProcessState.UserTime() + command.ProcessState.SystemTime()).Seconds()
	return nil
}

// peakOf is a process's resident memory at its highest, in MiB. What wait4 returns would do if it did not begin with the
// parent's.
func peakOf(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a process: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("reading the memory of a process: %w", err)
	}
	return kib / 1024, nil
}

// measureQueryLogs is a run of this part alone, which needs no control plane.
func (b *bench) measureQueryLogs(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "shorthop-bench-"); err != nil {
		return fmt.Errorf("creating a temporary folder: %w", err)
	}
	q, err := b.queryLogs(ctx, b.logLines)
	if err != nil {
		return err
	}
	var page strings.Builder
	writeGoals(&page, q.goals())
	q.table(&page)
	fmt.Print(page.String())
	return nil
}

// goals are what was promised.
func (q *queryLogs) goals() []goal {
	goals := []goal{
		{"advise, lines of query logs per second on two cores", "≥ " + measured.Thousands(4_000_000), measured.Thousands(int(q.perSecond())), q.perSecond() >= 4_000_000},
		{"the same, time of that to split lines into fields", "≤ 4.00x", fmt.Sprintf("%.2fx", q.ratio()), q.ratio() <= 4},
		{"the same, resident memory at the peak, 10,000 clients", "≤ 256 MiB", fmt.Sprintf("%.0f MiB", q.PeakMiB), q.PeakMiB <= 256},
	}
	if j := q.JSON; j != nil {
		goals = append(goals,
			goal{"advise, JSON lines of query logs per second on two cores", "≥ " + measured.Thousands(1_000_000), measured.Thousands(int(j.perSecond())), j.perSecond() >= 1_000_000},
			goal{"the same, resident memory at the peak, 10,000 clients", "≤ 256 MiB", fmt.Sprintf("%.0f MiB", j.PeakMiB), j.PeakMiB <= 256})
	}
	return goals
}

func (q *queryLogs) table(b *strings.Builder) {
	b.WriteString("\n## Query logs\n\n" +
		"`kubectl-shorthop advise` from its start to its report: a log of a simulated cluster (`test/loggen`), six days in as many files\n" +
		"that are read again and again. *Split into fields* reads the same lines and does nothing with them, on one core, half before and half after.\n\n")
	t := measured.NewTable("", "lines", "MiB", "lines/s", "lines/s per core", "VmHWM MiB")
	t.Row(fmt.Sprintf("advise, %s clients and workloads", measured.Thousands(int(q.Clients))), measured.Thousands(int(q.Lines)), measured.Thousands(int(q.MiB)),
		measured.Thousands(int(q.perSecond())), measured.Thousands(int(float64(q.Lines)/q.CPU)), fmt.Sprintf("%.0f", q.PeakMiB))
	if j := q.JSON; j != nil {
		t.Row("JSON lines of Fluent Bit, a quarter as many", measured.Thousands(int(j.Lines)), measured.Thousands(int(j.MiB)),
			measured.Thousands(int(j.perSecond())), measured.Thousands(int(float64(j.Lines)/j.CPU)), fmt.Sprintf("%.0f", j.PeakMiB))
	}
	rate := measured.Thousands(int(float64(q.SplitLines) / q.SplitSeconds))
	t.Row("split into fields", measured.Thousands(int(q.SplitLines)), measured.Thousands(int(q.SplitLines*q.MiB/q.Lines)), rate, rate, "")
	t.Write(b)
}
