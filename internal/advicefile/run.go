package advicefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Run says how the last run of the advisor ended. It is kept in a ConfigMap beside
// the document, and servers make metrics of it.
type Run struct {
	Version int `json:"v"`
	// Ended is when the last run did, whatever it came to.
	Ended time.Time `json:"ended"`
	// Error is why it could not do what it had to, empty where it could.
	Error string `json:"error,omitzero"`
	// Succeeded is when the last run ended that could.
	Succeeded time.Time `json:"succeeded,omitzero"`
	// Complete is when one last had evidence that lacked nothing. Until there was one,
	// it is when the first run ended.
	Complete time.Time `json:"complete"`
	// Incomplete is what the last one's evidence lacked.
	Incomplete []string `json:"incomplete,omitzero"`
	// Raised is when one last raised what a name needs.
	Raised time.Time `json:"raised,omitzero"`
	// Logs is how many logs the last one has read, of Of that there are.
	Logs int `json:"logs,omitzero"`
	Of   int `json:"of,omitzero"`
	// Observed is how many workloads they told of, of Workloads that there are.
	Observed  int `json:"observed,omitzero"`
	Workloads int `json:"workloads,omitzero"`
	// Next is the node behind which the next one begins where not all are read.
	Next string `json:"next,omitzero"`
}

// runVersion is the form that is written, and the only one that is read.
const runVersion = 1

// maxRun is how many bytes of it are read: a ConfigMap may have a mebibyte.
const maxRun = 64 << 10

// ParseRun reads what Encode has written. What it does not know is left out: a newer
// release may have written it.
func ParseRun(text []byte) (*Run, error) {
	var r Run
	if len(text) > maxRun {
		return nil, fmt.Errorf("more than %d bytes", maxRun)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	if r.Version != runVersion {
		return nil, fmt.Errorf("v is %d: only %d is read", r.Version, runVersion)
	}
	return &r, nil
}

// Encode is the form in which it is kept.
func (r Run) Encode() ([]byte, error) {
	r.Version = runVersion
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return b.Bytes(), err
}

// ReadRun reads the file with the last run. It is nil where there is none, or one that
// is empty: there was no run yet.
func ReadRun(path string) (*Run, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := readOne(path, maxRun+1)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	r, err := ParseRun(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
