// The command lookup looks up its argument with Go's resolver, or with libc's where
// Go chooses that, and prints the outcome and the addresses.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

func main() {
	addresses, err := net.DefaultResolver.LookupIPAddr(context.Background(), os.Args[1])
	var dnsError *net.DNSError
	switch {
	case err == nil && len(addresses) > 0:
		fmt.Println("found")
	case err == nil:
		fmt.Println("not_found")
	case errors.As(err, &dnsError) && dnsError.IsNotFound:
		fmt.Println("not_found")
	case errors.As(err, &dnsError) && dnsError.Temporary():
		fmt.Println("temporary_failure")
	default:
		fmt.Println("failure")
	}
	for _, address := range addresses {
		fmt.Println(address.IP)
	}
}
