package cluster

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

// logFile receives the output of kube-apiserver. It is a file and not a buffer: the server then writes to it by itself,
// which costs us no CPU while a benchmark runs, and it can be read while the demo runs.
type logFile struct{ *os.File }

func createLogFile(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating a log file: %w", err)
	}
	return &logFile{file}, nil
}

// tail returns the end of the log, for an error message.
func (f *logFile) tail() string {
	content, err := os.ReadFile(f.Name())
	if err != nil {
		return err.Error()
	}
	return lastLines(content)
}

// lastLines returns the last lines of an output, which is where a program says why it gave up.
func lastLines(output []byte) string {
	const most = 20
	lines := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}

// LogBuffer is a bytes.Buffer that may be read while a program still writes to it.
type LogBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
