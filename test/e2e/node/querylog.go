package node

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// Query is one line of a query log.
type Query struct {
	Client, Port, Protocol, Type, Name, Rcode string
}

// QueryLog reads the queries that a DNS server logs from now on.
type QueryLog struct {
	path   string
	offset int64
}

// QueryLog returns a reader of LogCluster or LogNodeLocal, which starts at the present end.
func (n *Node) QueryLog(name string) (*QueryLog, error) {
	info, err := os.Stat(n.LogPath(name))
	if err != nil {
		return nil, fmt.Errorf("reading a query log: %w", err)
	}
	return &QueryLog{path: n.LogPath(name), offset: info.Size()}, nil
}

// Settle waits until none of the logs has had a new line for a moment: a server logs a query after it has answered, and
// musl does not wait for the answers of all the servers that it asks.
func Settle(logs ...*QueryLog) error {
	const quiet = 150 * time.Millisecond
	before := -1
	for {
		size := 0
		for _, l := range logs {
			content, err := l.read()
			if err != nil {
				return err
			}
			size += len(content)
		}
		if size == before {
			return nil
		}
		before = size
		time.Sleep(quiet)
	}
}

// Queries returns the queries since the reader was made.
func (l *QueryLog) Queries() ([]Query, error) {
	content, err := l.read()
	if err != nil {
		return nil, err
	}
	var queries []Query
	for line := range bytes.Lines(content) {
		_, text, found := strings.Cut(string(line), " q ")
		words := strings.Fields(text)
		if !found || len(words) < 7 {
			continue // errors, and what the server says about itself
		}
		queries = append(queries, Query{Client: words[0], Port: words[1], Protocol: words[2], Type: words[4], Name: words[5], Rcode: words[6]})
	}
	return queries, nil
}

// read returns the log's new lines, complete or not.
func (l *QueryLog) read() ([]byte, error) {
	content, err := os.ReadFile(l.path)
	if err != nil {
		return nil, fmt.Errorf("reading a query log: %w", err)
	}
	return content[l.offset:], nil
}
