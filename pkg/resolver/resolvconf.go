package resolver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxFileSize is the size in bytes from which kubelet refuses the node's file.
const maxFileSize = 10 << 20

// ResolvConf is the content of a resolv.conf file. A keyword that the file does
// not have is a nil slice.
type ResolvConf struct {
	// Nameservers are the resolvers' addresses, in the file's order.
	Nameservers []string `json:"nameservers,omitempty"`
	// Searches are the search domains, in the file's order.
	Searches []string `json:"searches,omitempty"`
	// Options are the words of the options line, "name" or "name:value".
	//
	// Do not read meaning from their order. kubelet keeps options in a Go map,
	// so the order in a real pod differs from one start to the next. Here it is
	// always the order in which the names were first mentioned.
	Options []string `json:"options,omitempty"`
}

// ParseResolvConf reads a resolv.conf file as kubelet reads the node's
// (parseResolvConf, appendOptions), which is neither glibc's nor musl's way:
//
//   - every nameserver line adds its first word, which is not checked;
//   - the last search line replaces the ones before, an empty one included;
//     one trailing dot is cut from each domain, and the domain "." is left out;
//   - options lines add up, and of options with the same name the last wins;
//   - only lines that start with "#" are comments: what follows a "#" later in
//     a search or options line is taken literally;
//   - other lines, also "domain" and "sortlist", are ignored.
//
// It fails where kubelet fails, and then kubelet starts no pod on the node,
// whatever the pod's dnsPolicy: on a nameserver line without an address, and on
// 10 MiB or more. All errors are reported at once.
func ParseResolvConf(text string) (ResolvConf, error) {
	if len(text) >= maxFileSize {
		return ResolvConf{}, fmt.Errorf("parse resolv.conf: %d bytes, kubelet reads less than %d", len(text), maxFileSize)
	}
	var (
		conf ResolvConf
		errs []error
	)
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		keyword, values := words[0], words[1:]
		switch keyword {
		case "nameserver":
			if len(values) == 0 {
				errs = append(errs, fmt.Errorf("parse resolv.conf: line %d: nameserver without an address", number))
				continue
			}
			conf.Nameservers = append(conf.Nameservers, values[0])
		case "search":
			conf.Searches = nil
			for _, domain := range values {
				if domain != "." {
					conf.Searches = append(conf.Searches, strings.TrimSuffix(domain, "."))
				}
			}
		case "options":
			conf.Options = mergeWords(conf.Options, values)
		}
	}
	if len(errs) > 0 {
		return ResolvConf{}, errors.Join(errs...)
	}
	return conf, nil
}

// mergeWords adds options to a list in which every name occurs once. A name's
// place is that of its first mention, its word that of its last.
func mergeWords(options, more []string) []string {
	for _, word := range more {
		name, _, _ := strings.Cut(word, ":")
		same := func(other string) bool {
			otherName, _, _ := strings.Cut(other, ":")
			return otherName == name
		}
		if i := slices.IndexFunc(options, same); i >= 0 {
			options[i] = word
		} else {
			options = append(options, word)
		}
	}
	return options
}

// String is the file's text as containerd writes it (parseDNSOptions): one
// search line, a line for each nameserver, one options line, and no line for
// what is empty.
//
// It is the inverse of [ParseResolvConf] for a ResolvConf whose entries have no
// white space, whose search domains have no trailing dot, and whose option
// names are unique.
//
// An empty text is not always what the pod sees: containerd 2 writes an empty
// file, older releases and CRI-O copy the node's /etc/resolv.conf.
func (c ResolvConf) String() string {
	var b strings.Builder
	if len(c.Searches) > 0 {
		b.WriteString("search " + strings.Join(c.Searches, " ") + "\n")
	}
	for _, address := range c.Nameservers {
		b.WriteString("nameserver " + address + "\n")
	}
	if len(c.Options) > 0 {
		b.WriteString("options " + strings.Join(c.Options, " ") + "\n")
	}
	return b.String()
}
