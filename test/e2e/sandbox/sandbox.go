// Package sandbox runs the current program a second time in namespaces of its own, so that it can be a whole machine
// there: bring up interfaces, mount, write cgroups, start daemons. The host sees none of it, and when the program ends,
// however it ends, the kernel ends every process in the sandbox and removes its interfaces and mounts.
//
// What outlives the sandbox are its cgroups, which are not part of a namespace's life. The outer process removes them;
// Clean removes those of runs that were killed.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stageVariable tells the program which of the three processes it is; outer, where it is not set.
const stageVariable = "SHORTHOP_SANDBOX"

// The stages, and the variable with the name of the sandbox's cgroup.
const (
	stageInit      = "init"
	stageMain      = "main"
	cgroupVariable = "SHORTHOP_SANDBOX_CGROUP"
	cgroupPrefix   = "shorthop-e2e-"
)

// Dir is an empty tmpfs in the sandbox, for everything that the program writes and that nobody needs afterwards.
const Dir = "/run/shorthop"

// Cgroup is the path of a cgroup, in every hierarchy, that was made for this sandbox.
func Cgroup() string { return "/" + os.Getenv(cgroupVariable) }

// Enter returns inside = true in the sandbox. Outside, it runs the same program with the same arguments in a sandbox, and
// returns its exit code when it has ended. Call it before anything else; it needs root.
//
// Three processes are involved. The outer one waits; its death, also by SIGKILL, is the death of the second one. That is
// process 1 of the sandbox, which mounts what belongs to it, and then only collects orphans. The third one returns from
// Enter.
func Enter() (inside bool, exitCode int, err error) {
	switch os.Getenv(stageVariable) {
	case stageMain:
		return true, 0, nil
	case stageInit:
		code, err := runInit()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			code = 2
		}
		os.Exit(code)
	}
	if err := Possible(); err != nil {
		return false, 2, err
	}
	if err := Clean(); err != nil {
		return false, 2, err
	}
	code, err := runOuter()
	return false, code, err
}

// Possible says why Enter cannot work here.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("a real node needs root, for namespaces, mounts and cgroups: run it with sudo")
	}
	return nil
}

// again is a command that runs this program with its arguments once more.
func again(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // it ends with the process that starts it
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func runOuter() (code int, err error) {
	name := cgroupPrefix + strconv.Itoa(os.Getpid())
	if err := createCgroups(name); err != nil {
		return 2, err
	}
	defer func() { err = errors.Join(err, removeCgroups(name)) }()

	// Pdeathsig is about the thread that starts the process, not about the process that the thread belongs to.
	runtime.LockOSThread()
	cmd := again(stageInit)
	cmd.Env = append(cmd.Env, cgroupVariable+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C reaches this process only
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 2, fmt.Errorf("starting the sandbox: %w", err)
	}
	fmt.Printf("sandbox: to look into it: nsenter --target %d --net --mount --pid\n", cmd.Process.Pid)
	go func() {
		for range signals {
			_ = cmd.Process.Kill() // process 1: with it go all others
		}
	}()
	_ = cmd.Wait() // the exit code says it all
	if code = cmd.ProcessState.ExitCode(); code < 0 {
		code = 2
	}
	return code, nil
}

// runInit is process 1 of the sandbox.
func runInit() (int, error) {
	if err := mounts(); err != nil {
		return 2, err
	}
	if err := unix.Sethostname([]byte("node-1")); err != nil {
		return 2, fmt.Errorf("setting the host name: %w", err)
	}
	cmd := again(stageMain)
	if err := cmd.Start(); err != nil {
		return 2, fmt.Errorf("starting the program: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 2, fmt.Errorf("waiting for processes: %w", err)
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == cmd.Process.Pid && status.Signaled():
			return 2, fmt.Errorf("the program was ended by signal %d", status.Signal())
		}
	}
}

// kernelTunables are what kubelet wants of the whole machine (setupKernelTunables). It finds them set, so it leaves the
// host's alone.
var kernelTunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": strconv.Itoa(1000000 * 25),
}

// mounts makes the sandbox's view of the file system: everything is the host's, but what daemons write by default (in
// /run, /var/lib and /var/log) goes to memory.
func mounts() error {
	steps := []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		{"", "/run", "", unix.MS_SHARED, ""}, // kubelet's volumes must reach containers
	}
	for _, s := range steps {
		if err := unix.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("mounting %s: %w", s.target, err)
		}
	}
	for _, dir := range []string{Dir, "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("creating a folder of the sandbox: %w", err)
		}
	}
	for _, dir := range []string{"/var/lib", "/var/log"} {
		if err := overlay(dir); err != nil {
			return err
		}
	}
	for name, value := range kernelTunables {
		if err := cover("/proc/sys/"+name, value+"\n"); err != nil {
			return err
		}
	}
	return cover("/etc/resolv.conf", "# in the sandbox nobody resolves names outside of pods\n")
}

// overlay puts a writable layer in memory over a folder.
func overlay(dir string) error {
	base := "/run/overlay/" + strings.ReplaceAll(dir[1:], "/", "-")
	upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("creating a folder of the sandbox: %w", err)
		}
	}
	data := "lowerdir=" + dir + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", dir, "overlay", 0, data); err != nil {
		return fmt.Errorf("mounting a layer over %s: %w", dir, err)
	}
	return nil
}

// cover puts a file of our own over one of the host's. A host that lacks the file does not need it covered.
func cover(path, content string) error {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("covering %s: %w", path, err)
	}
	own := "/run/cover/" + strings.ReplaceAll(path[1:], "/", "-")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		return fmt.Errorf("covering %s: %w", path, err)
	}
	if err := os.WriteFile(own, []byte(content), 0o644); err != nil {
		return fmt.Errorf("covering %s: %w", path, err)
	}
	if err := unix.Mount(own, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("covering %s: %w", path, err)
	}
	return nil
}

// Clean removes the cgroups of sandboxes whose outer process is gone.
func Clean() error {
	var errs []error
	for _, root := range cgroupRoots() {
		left, err := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
		errs = append(errs, err)
		for _, dir := range left {
			name := filepath.Base(dir)
			if _, err := os.Stat("/proc/" + strings.TrimPrefix(name, cgroupPrefix)); err == nil {
				continue // its run still goes on
			}
			errs = append(errs, removeCgroups(name))
		}
	}
	return errors.Join(errs...)
}

// cgroupRoots are the mount points of the cgroup hierarchies: one of version 2, or one for each controller of version 1.
func cgroupRoots() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	var roots []string
	for _, entry := range entries {
		// Names of several controllers are links to one of them.
		if entry.Type().IsDir() {
			roots = append(roots, filepath.Join(root, entry.Name()))
		}
	}
	return roots
}

func createCgroups(name string) error {
	roots := cgroupRoots()
	if len(roots) == 0 {
		return errors.New("no cgroups are mounted below /sys/fs/cgroup")
	}
	for _, root := range roots {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("creating the sandbox's cgroup: %w", err)
		}
		// In version 1 a new cpuset is empty, and nothing can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				continue // another controller, or version 2
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				return fmt.Errorf("filling the sandbox's cpuset: %w", err)
			}
		}
	}
	return nil
}

// removeCgroups removes the cgroup and those below it. The kernel needs a moment after the last process of one has ended.
func removeCgroups(name string) error {
	var errs []error
	for _, root := range cgroupRoots() {
		var err error
		for range 100 {
			if err = removeTree(filepath.Join(root, name)); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeTree removes a folder of cgroups: folders only, as the files in them are the kernel's.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing cgroups: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing cgroup %s: %w", dir, err)
	}
	return nil
}
