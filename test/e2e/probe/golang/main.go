// The probe that looks up names as Go programs do: with Go's own resolver where it is built without cgo. Its commands and output are those of ../c/probe.c.
// One is its own: "steady NAME..." looks all of them up once a second until it is killed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	command := "pause"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	encoder := json.NewEncoder(os.Stdout)
	var err error
	switch command {
	case "report":
		var content []byte
		if content, err = os.ReadFile("/etc/resolv.conf"); err == nil {
			err = encoder.Encode(map[string]any{"resolvConf": string(content), "env": os.Environ()})
		}
	case "lookup", "lookup4", "lookup6":
		for _, name := range os.Args[2:] {
			if err = encoder.Encode(lookup("ip"+strings.TrimPrefix(command, "lookup"), name)); err != nil {
				break
			}
		}
	case "steady":
		for {
			for _, name := range os.Args[2:] {
				lookup("ip", name)
			}
			time.Sleep(time.Second)
		}
	default:
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type answer struct {
	Name         string   `json:"name"`
	Addresses    []string `json:"addresses"`
	Error        string   `json:"error"`
	Milliseconds float64  `json:"milliseconds"`
}

func lookup(network, name string) answer {
	a := answer{Name: name, Addresses: []string{}}
	r := net.Resolver{}
	start := time.Now()
	addresses, err := r.LookupNetIP(context.Background(), network, name)
	a.Milliseconds = float64(time.Since(start).Microseconds()) / 1000
	for _, address := range addresses {
		a.Addresses = append(a.Addresses, address.Unmap().String())
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}
