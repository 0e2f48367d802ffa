package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockTicks is the unit of /proc/PID/stat: sysconf(_SC_CLK_TCK), 100 on every Linux that Go runs on.
const clockTicks = 100

// cpuTime is what a process has used so far, by itself and in the kernel.
func cpuTime(pid int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of a process: %w", err)
	}
	// "PID (NAME) STATE PPID ...", and NAME may hold anything; utime and stime are fields 14 and 15.
	stat := string(content)
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of a process: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

// cpuTimes is cpuTime of several processes; of process 0, which is none, it is nothing.
func cpuTimes(pids ...int) ([]time.Duration, error) {
	times := make([]time.Duration, len(pids))
	for i, pid := range pids {
		if pid == 0 {
			continue
		}
		var err error
		if times[i], err = cpuTime(pid); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// childNamed finds a process that this program has started.
func childNamed(name string) (pid int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		before, after, _ := strings.Cut(string(content), " ("+name+") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			return strconv.Atoi(before)
		}
	}
	return 0, fmt.Errorf("no %s has been started", name)
}

// memory is what a process has in RAM, in MiB.
type memory struct {
	// Anonymous is RssAnon: what counts as used by the pod and cannot be dropped. Total is VmRSS: with the pages of the
	// program's file that have been touched.
	Anonymous, Total float64
}

func memoryOf(pid int) (memory, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("reading the memory of a process: %w", err)
	}
	var m memory
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*float64{"RssAnon": &m.Anonymous, "VmRSS": &m.Total}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			return memory{}, fmt.Errorf("reading the memory of a process: %w", err)
		}
		*into = kib / 1024
	}
	return m, nil
}

// onCore calls start with a thread that may run on one core only. Processes that it starts inherit that, and so take
// themselves for programs on a machine with one core, as Go programs under a CPU limit of one do.
func onCore(core int, start func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("finding the cores: %w", err)
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("choosing a core: %w", err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return start()
}

// leaveCore keeps this program off a core until restore is called.
func leaveCore(core int) (restore func() error, err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("finding the cores: %w", err)
	}
	others := before
	others.Clear(core)
	if others.Count() == 0 {
		return func() error { return nil }, nil // a machine with one core
	}
	return func() error { return setAffinity(&before) }, setAffinity(&others)
}

// setAffinity is for all threads of this program; those to come inherit it.
func setAffinity(cores *unix.CPUSet) error {
	threads, err := filepath.Glob("/proc/self/task/[0-9]*")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, cores); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("choosing cores: %w", err)
		}
	}
	return nil
}
