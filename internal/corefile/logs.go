package corefile

import (
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// Logs says which queries a block logs. all: every one of its zones. Otherwise
// only says in words which classes of answers, or which names, it logs; nil where
// it logs none.
//
//	in the block                        logs
//	log, log . FORMAT                   all
//	log { class all }                   all
//	log { class success denial }        all, but for those that the DNS server did not answer
//	log . { class error }               those classes only, as OpenShift and MicroK8s have it
//	log example.org                     those names only
func (b *Block) Logs() (all bool, only []string) {
	b.each(map[*Block]bool{}, func(each *Block) {
		for _, use := range logUses(each.plugins["log"]) {
			answered := slices.Contains(use.classes, "success") && slices.Contains(use.classes, "denial")
			switch {
			case len(use.names) > 0:
				for _, name := range use.names {
					only = append(only, "names in "+name)
				}
			case len(use.classes) == 0, slices.Contains(use.classes, "all"), answered:
				all = true
			default:
				only = append(only, "answers of class "+strings.Join(use.classes, " and "))
			}
		}
	})
	if all {
		return true, nil
	}
	slices.Sort(only)
	return false, slices.Compact(only)
}

// logUse is one use of the plugin log, without the name of the root.
type logUse struct{ names, classes []string }

func logUses(tokens []caddyfile.Token) []logUse {
	var uses []logUse
	depth := 0
	for d := caddyfile.NewDispenserTokens("", tokens); d.Next(); {
		switch word := unmark(d.Val()); {
		case word == "{":
			depth++
		case word == "}":
			depth--
		case depth == 0:
			uses = append(uses, logUse{names: namesOf(d.RemainingArgs())})
		case word == "class" && len(uses) > 0:
			use := &uses[len(uses)-1]
			use.classes = append(use.classes, d.RemainingArgs()...)
		}
	}
	return uses
}

// namesOf leaves out the format, which is the last argument and has a variable.
func namesOf(arguments []string) []string {
	var names []string
	for _, argument := range arguments {
		argument = unmark(argument)
		if zone := ZoneOf(argument); zone != "." && !strings.Contains(argument, "{") {
			names = append(names, zone)
		}
	}
	return names
}
