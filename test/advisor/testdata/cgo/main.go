// The command cgo looks up its arguments as Go programs do by default: with the C
// library if it was built for that and GODEBUG says so.
package main

import (
	"context"
	"net"
	"os"
)

func main() {
	for _, name := range os.Args[1:] {
		_, _ = net.DefaultResolver.LookupHost(context.Background(), name) // it is the queries that matter
	}
}
