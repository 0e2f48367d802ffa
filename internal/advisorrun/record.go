package advisorrun

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Recorder follows the logs of containers and writes them into files. The files are
// read after the window, when it is known which pods there were: read at once, a
// query from a pod that is not known yet could not be attributed.
//
//	a log                                          the recorder
//	ends, because its container ended              asks again every few seconds: another may begin
//	cannot be had any more, as its pod is gone     keeps what there is
//	cannot be had at all                           says why
//	all of them together are larger than Limit     ends the window early: it covers less time, without a gap
//
// Logs are followed as they come, and not read back later: kubelet hands out the
// newest 10 MiB of a log, which for a busy cache are seconds.
type Recorder struct {
	Client kubernetes.Interface
	// Folder is where the files are made.
	Folder string
	// Window is how long logs are recorded.
	Window time.Duration
	// Limit is how many bytes all files together may have, compressed.
	Limit int64
}

// Container is one whose log is recorded.
type Container struct {
	Pod  *corev1.Pod
	Name string // the container's
	Log  string // what the log is called
}

// Recorded is a log.
type Recorded struct {
	Container
	// File has it, compressed; empty where there is none.
	File string
	// Err is why there is no more of it.
	Err error
}

// askAgain is the time between two requests for a log that has ended.
const askAgain = 5 * time.Second

// errFull ends a window.
var errFull = errors.New("there is no more room")

// Record records logs until the window ends. early is true where it ended before
// Window had passed, because the logs reached Limit. The error is that of ctx; what
// went wrong with one log is in its Recorded.
func (r *Recorder) Record(ctx context.Context, containers []Container) (logs []Recorded, early bool, err error) {
	window, end := context.WithCancelCause(ctx)
	defer end(nil)
	timer := time.AfterFunc(r.Window, func() { end(nil) })
	defer timer.Stop()
	var written atomic.Int64
	full := func() bool {
		if written.Load() <= r.Limit {
			return false
		}
		end(errFull)
		return true
	}
	logs = make([]Recorded, len(containers))
	var each sync.WaitGroup
	for i := range containers {
		each.Go(func() {
			l := &logs[i]
			l.Container = containers[i]
			file := filepath.Join(r.Folder, fmt.Sprintf("%d.log.zst", i))
			l.Err = r.record(window, &l.Container, file, &written, full)
			if info, err := os.Stat(file); err == nil && (l.Err == nil || info.Size() > 0) {
				l.File = file
			}
		})
	}
	each.Wait()
	return logs, errors.Is(context.Cause(window), errFull), ctx.Err()
}

// record records one log until the window ends.
func (r *Recorder) record(window context.Context, c *Container, name string, written *atomic.Int64, full func() bool) (err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, file.Close()) }()
	// A small window and one goroutine: there are as many as there are logs.
	z, err := zstd.NewWriter(&counted{file, written}, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, z.Close()) }()
	since := time.Now()
	for first := true; window.Err() == nil; first = false {
		began := time.Now()
		stream, err := r.Client.CoreV1().Pods(c.Pod.Namespace).GetLogs(c.Pod.Name, &corev1.PodLogOptions{
			Container: c.Name, Follow: true, Timestamps: true, SinceTime: new(metav1.NewTime(since)),
		}).Stream(window)
		switch {
		case window.Err() != nil:
			return nil
		case apierrors.IsNotFound(err) && !first:
			return nil // what it has logged was recorded
		case err != nil && first:
			return err
		case err == nil:
			err = copyLines(z, stream, full)
			stream.Close()
			since = began // lines may come twice this way; whoever reads the files counts them once
			var failed *writeError
			if errors.As(err, &failed) {
				return failed.error
			}
		}
		select {
		case <-window.Done():
		case <-time.After(askAgain):
		}
	}
	return nil
}

// counted counts what is written.
type counted struct {
	to      io.Writer
	written *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// writeError is the error of writing to the file, as opposed to reading the log.
type writeError struct{ error }

// copyLines copies whole lines until the log ends or full reports true. A last line
// without a newline is left out: the end of the window may have cut it.
func copyLines(to io.Writer, from io.Reader, full func() bool) error {
	b := bufio.NewReaderSize(from, 64<<10)
	var rest []byte
	const longest = 1 << 20 // bytes; of a longer line, which is no query, a part is left out
	for !full() {
		part, err := b.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			rest = append(rest, part...)
			rest = rest[:min(len(rest), longest)]
			continue
		case err != nil:
			return err
		}
		if len(rest) > 0 {
			rest = append(rest, part...)
			part, rest = rest, rest[:0]
		}
		if _, err := to.Write(part); err != nil {
			return &writeError{err}
		}
	}
	return nil
}

// Choose picks the pods of at most that many nodes. It goes through the nodes in the
// order of their names, from the first one after the node named by after, and starts
// again at the end, so that successive runs reach every node. next is the last node
// that it picked, for the next run's after; empty where it picked all nodes.
func Choose(pods []corev1.Pod, nodes int, after string) (chosen []corev1.Pod, next string) {
	byNode := map[string][]corev1.Pod{}
	for i := range pods {
		byNode[pods[i].Spec.NodeName] = append(byNode[pods[i].Spec.NodeName], pods[i])
	}
	names := make([]string, 0, len(byNode))
	for name := range byNode {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) > nodes {
		first, found := slices.BinarySearch(names, after)
		if found {
			first++
		}
		names = slices.Concat(names[first:], names[:first])[:nodes]
		next = names[len(names)-1]
	}
	for _, name := range names {
		of := byNode[name]
		slices.SortFunc(of, func(a, b corev1.Pod) int {
			return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
		})
		chosen = append(chosen, of...)
	}
	return chosen, next
}
