package corefile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ClusterZones are the zones of the kubernetes plugin, without those of
// reverse lookups. An error says that there may be more.
func ClusterZones(blocks []Block) ([]string, error) {
	var zones ZoneSet
	for i := range blocks {
		for _, arguments := range blocks[i].All("kubernetes") {
			if len(arguments) == 0 {
				arguments = blocks[i].Zones
			}
			for _, argument := range arguments {
				zones.Add(ZoneOf(argument), blocks[i].From)
			}
		}
	}
	return zones.Names, zones.Err
}

// ZoneSet collects zones for which names are looked up, each once.
type ZoneSet struct {
	Names, From []string
	// Err says that there may be more.
	Err error
}

// Add adds a zone that names are looked up in: the root and reverse zones are none.
func (s *ZoneSet) Add(zone, from string) {
	switch {
	case zone == "" || zone == "." || isReverse(zone) || slices.Contains(s.Names, zone):
	case IsVariable(zone):
		s.Err = errors.Join(s.Err, fmt.Errorf("%s: the zone %s is a variable, which only CoreDNS's container knows", from, zone))
	default:
		s.Names, s.From = append(s.Names, zone), append(s.From, from)
	}
}

func isReverse(zone string) bool {
	return zone == "arpa" || strings.HasSuffix(zone, ".arpa") || strings.Contains(zone, "/")
}
