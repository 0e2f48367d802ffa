package measured

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where something was measured, when and for how long.
type Machine struct {
	CPU                                 string
	Cores                               int
	MemoryMiB                           float64
	Kernel, Go, Kubernetes, Date, Lasts string
}

// DescribeMachine describes this one. kubernetes is the API server's version.
func DescribeMachine(kubernetes string, began time.Time) (m Machine, err error) {
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
	return Machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), MemoryMiB: float64(info.Totalram) * float64(info.Unit) / (1 << 20),
		Kernel: "Linux " + release, Go: runtime.Version(), Kubernetes: kubernetes,
		Date: time.Now().UTC().Format(time.DateOnly), Lasts: time.Since(began).Round(time.Second).String(),
	}, nil
}

// String is a sentence for the pages with results.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GiB, %s; %s; Kubernetes %s (etcd, kube-apiserver, webhooks and clients all on it); %s, %s.",
		m.CPU, m.Cores, m.MemoryMiB/1024, m.Kernel, m.Go, m.Kubernetes, m.Date, m.Lasts)
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
