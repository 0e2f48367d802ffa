package doctor

import (
	"errors"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/corefile"
)

// blocks are the server blocks of the cluster DNS, and what snippets add to
// the one for ".".
func (c *clusterDNSConfig) blocks() ([]corefile.Block, error) {
	if c == nil {
		return nil, nil
	}
	return corefile.Read(c.corefiles)
}

// clusterZones are corefile.ClusterZones of the cluster DNS.
func (c *clusterDNSConfig) clusterZones() ([]string, error) {
	blocks, err := c.blocks()
	zones, variables := corefile.ClusterZones(blocks)
	return zones, errors.Join(err, variables)
}

// customZones are the zones that the cluster DNS serves besides its own, and
// where they are from. An error says that there may be more.
func (c *clusterDNSConfig) customZones() (map[string]string, error) {
	cluster, err := c.clusterZones()
	zones := corefile.ZoneSet{Err: err}
	blocks, _ := c.blocks() // with the same error
	for i := range blocks {
		block := &blocks[i]
		for _, zone := range block.Zones {
			zones.Add(zone, block.From)
		}
		for _, own := range zonePlugins {
			for _, arguments := range block.All(own.plugin) {
				for _, zone := range own.zones(arguments) {
					zones.Add(zone, block.From+" ("+own.plugin+")")
				}
			}
		}
	}
	if c != nil {
		for _, domain := range c.stubDomains {
			zones.Add(corefile.ZoneOf(domain), stubDomainsFrom)
		}
	}
	custom := map[string]string{}
	for i, zone := range zones.Names {
		if !slices.Contains(cluster, zone) {
			custom[zone] = zones.From[i]
		}
	}
	return custom, zones.Err
}

const stubDomainsFrom = "ConfigMap kube-system/kube-dns (stubDomains)"

// zonePlugin is a plugin that answers for names of its own, within whatever
// block it is.
type zonePlugin struct {
	plugin string
	// first and end say which of its arguments are zones; end 0: all that follow.
	first, end int
}

var zonePlugins = []zonePlugin{
	{"file", 1, 0},     // file FILE ZONE...
	{"auto", 0, 0},     // auto ZONE...
	{"template", 2, 0}, // template CLASS TYPE ZONE...
	{"forward", 0, 1},  // forward FROM TO...
	{"grpc", 0, 1},     // grpc FROM TO...
	{"secondary", 0, 0},
	{"etcd", 0, 0},
	{"k8s_external", 0, 0},
	{"hosts", 1, 0}, // hosts FILE ZONE...
}

func (p *zonePlugin) zones(arguments []string) []string {
	end := len(arguments)
	if p.end > 0 {
		end = min(p.end, end)
	}
	var zones []string
	for i := p.first; i < end; i++ {
		zones = append(zones, corefile.ZoneOf(arguments[i]))
	}
	return zones
}

// bypass returns whom a cache asks for a zone, "" where it asks the cluster DNS
// or serves the zone in a block of its own.
func bypass(blocks []corefile.Block, zone string, clusterServers []string) string {
	var best *corefile.Block
	length := -1
	for i := range blocks {
		for _, has := range blocks[i].Zones {
			covers, weight := has == zone || strings.HasSuffix(zone, "."+has), len(has)
			if has == "." {
				covers, weight = true, 0
			}
			if covers && weight > length {
				best, length = &blocks[i], weight
			}
		}
	}
	if best == nil || length > 0 {
		return ""
	}
	for _, arguments := range best.All("forward") {
		if len(arguments) < 2 || corefile.ZoneOf(arguments[0]) != "." {
			continue
		}
		for _, target := range arguments[1:] {
			host := corefile.ZoneOf(target)
			if target == "/etc/resolv.conf" || target == "__PILLAR__UPSTREAM__SERVERS__" {
				return "the upstream resolvers (" + target + ")"
			}
			if !strings.HasPrefix(target, "__PILLAR__CLUSTER__DNS") && !containsAddress(clusterServers, host) {
				return target
			}
		}
	}
	return ""
}
