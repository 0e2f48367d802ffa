package generated_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// What is ours on a pod, written out: this file must not repeat a mistake of the code that it checks.
const (
	recordKey = "shorthop.dev/injected"
	pinnedKey = "shorthop.dev/pinned"
	hostName  = "KUBERNETES_SERVICE_HOST"
	portName  = "KUBERNETES_SERVICE_PORT"
	httpsName = "KUBERNETES_SERVICE_PORT_HTTPS"
)

// object is a JSON object, decoded with its numbers as they are written.
type object = map[string]any

func decode(text []byte) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var decoded object
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	return decoded, nil
}

func dict(in object, key string) object {
	value, _ := in[key].(object)
	return value
}

func list(in object, key string) []any {
	value, _ := in[key].([]any)
	return value
}

// objects returns the objects of a list of objects.
func objects(in object, key string) []object {
	var found []object
	for _, element := range list(in, key) {
		found = append(found, element.(object))
	}
	return found
}

func text(in object, key string) string {
	value, _ := in[key].(string)
	return value
}

// claims is what was added to a pod, as the pod's record says, or what must have been added where it has none.
type claims struct {
	ServiceHost string
	DNS         string
	Added       struct {
		Containers      []string
		Port, PortHTTPS string
		// Of containers with envFrom, where the policy names no port.
		PairPort              string
		PairContainers        []string
		Options               []string
		Nameservers, Searches int
		// Behind the user's searches, in mode Options.
		ExtraSearches []string
		// Of those, the user's: the index now, and in the user's list.
		UserNameservers, UserSearches [][2]int
		DNSPolicy                     *string
		DNSConfig                     bool
	}
}

// comparison is of a pod as it is without us and with us, under a policy and in a namespace.
type comparison struct {
	*setting
	namespace    string
	plain, after object
	claims       claims
}

// found says what a comparison came to.
type found struct {
	changed  bool
	recorded bool
}

// compare wants the pod with us to be the pod without us and what its record says was added to it, no more, no less and
// nothing else, with values that the policy has. It takes both apart.
func (s *setting) compare(namespace string, plain, after object) (found, error) {
	c := &comparison{setting: s, namespace: namespace, plain: plain, after: after}
	for _, pod := range []object{c.plain, c.after} {
		dropBlanks(pod)
	}
	if reflect.DeepEqual(c.plain, c.after) {
		return found{}, nil
	}
	recorded, err := c.takeKeys()
	if err != nil {
		return found{}, err
	}
	if !recorded {
		c.claimDifferences()
	}
	for _, kind := range []string{"initContainers", "containers"} {
		if err := c.takeEnv(kind); err != nil {
			return found{}, err
		}
	}
	if err := c.takeDNS(); err != nil {
		return found{}, err
	}
	return found{changed: true, recorded: recorded}, c.rest()
}

// compareEphemeral is for the update that adds ephemeral containers. It may add to their env, and leaves no record.
func (s *setting) compareEphemeral(plain, after object) (found, error) {
	c := &comparison{setting: s, plain: plain, after: after}
	if reflect.DeepEqual(c.plain, c.after) {
		return found{}, nil
	}
	c.claimEnv("ephemeralContainers")
	if err := c.takeEnv("ephemeralContainers"); err != nil {
		return found{}, err
	}
	return found{changed: true}, c.rest()
}

// rest wants nothing of ours to be left.
func (c *comparison) rest() error {
	if reflect.DeepEqual(c.plain, c.after) {
		return nil
	}
	return fmt.Errorf("a value of the user's is changed or gone, or something is added that is not recorded (-without us +with us):\n%s", cmp.Diff(c.plain, c.after))
}

// dropBlanks takes out the lists and maps that we add to where they are there without holding anything, which means the
// same to the API as if they were not.
func dropBlanks(pod object) {
	blank := func(in object, keys ...string) {
		for _, key := range keys {
			switch value := in[key].(type) {
			case nil:
				delete(in, key)
			case []any:
				if len(value) == 0 {
					delete(in, key)
				}
			case object:
				if len(value) == 0 && key != "dnsConfig" {
					delete(in, key)
				}
			}
		}
	}
	blank(dict(pod, "metadata"), "labels", "annotations")
	spec := dict(pod, "spec")
	blank(spec, "dnsConfig", "dnsPolicy")
	blank(dict(spec, "dnsConfig"), "nameservers", "searches", "options")
	for _, kind := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for _, container := range objects(spec, kind) {
			blank(container, "env")
		}
	}
}

// takeKeys takes out the annotation and the label, which are ours whoever set them, and reads the record.
func (c *comparison) takeKeys() (recorded bool, err error) {
	record := text(dict(dict(c.after, "metadata"), "annotations"), recordKey)
	recorded = record != "" && record != text(dict(dict(c.plain, "metadata"), "annotations"), recordKey)
	pinned := text(dict(dict(c.after, "metadata"), "labels"), pinnedKey)
	for _, pod := range []object{c.plain, c.after} {
		metadata := dict(pod, "metadata")
		delete(dict(metadata, "annotations"), recordKey)
		delete(dict(metadata, "labels"), pinnedKey)
		dropBlanks(pod)
	}
	if !recorded {
		return false, nil
	}
	decoder := json.NewDecoder(strings.NewReader(record))
	if err := decoder.Decode(&c.claims); err != nil {
		return false, fmt.Errorf("the record %q cannot be read: %w", record, err)
	}
	if c.claims.DNS == "NodeLocal" && pinned != "node-local" {
		return false, fmt.Errorf("the record says NodeLocal, and the label %s is %q", pinnedKey, pinned)
	}
	return true, nil
}

// claimDifferences is for a pod that has no room for a record: what is more on it must be ours.
func (c *comparison) claimDifferences() {
	c.claimEnv("initContainers")
	c.claimEnv("containers")
	plain, after := dict(c.plain, "spec"), dict(c.after, "spec")
	before, config := dict(plain, "dnsConfig"), dict(after, "dnsConfig")
	added := &c.claims.Added
	added.Nameservers, added.UserNameservers = claimFront(list(before, "nameservers"), list(config, "nameservers"))
	if searches := list(before, "searches"); text(plain, "dnsPolicy") == text(after, "dnsPolicy") {
		for _, search := range list(config, "searches")[min(len(searches), len(list(config, "searches"))):] {
			added.ExtraSearches = append(added.ExtraSearches, search.(string))
		}
	} else {
		added.Searches, added.UserSearches = claimFront(searches, list(config, "searches"))
	}
	for _, option := range objects(config, "options")[min(len(list(before, "options")), len(list(config, "options"))):] {
		added.Options = append(added.Options, text(option, "name"))
	}
	if text(plain, "dnsPolicy") != text(after, "dnsPolicy") {
		added.DNSPolicy = new(text(plain, "dnsPolicy"))
		c.claims.DNS = "NodeLocal"
	}
	added.DNSConfig = before == nil && config != nil
}

// claimFront claims what is in front of the user's entries, and those of the user's that are among it.
func claimFront(user, after []any) (n int, moved [][2]int) {
	for n = max(0, len(after)-len(user)); n <= len(after); n++ {
		rest := slices.Clone(user)
		moved = nil
		for i, value := range after[:n] {
			if j := slices.Index(user, value); j >= 0 {
				moved = append(moved, [2]int{i, j})
				at := slices.Index(rest, value)
				rest = slices.Delete(rest, at, at+1)
			}
		}
		if slices.Equal(rest, after[n:]) {
			return n, moved
		}
	}
	return 0, nil
}

// claimEnv claims the containers that have more variables.
func (c *comparison) claimEnv(kind string) {
	before, after := objects(dict(c.plain, "spec"), kind), objects(dict(c.after, "spec"), kind)
	for i := range min(len(before), len(after)) {
		more := list(after[i], "env")[:max(0, len(list(after[i], "env"))-len(list(before[i], "env")))]
		if len(more) == 0 {
			continue
		}
		c.claims.Added.Containers = append(c.claims.Added.Containers, text(after[i], "name"))
		c.claims.ServiceHost = text(more[0].(object), "value")
		if c.claims.ServiceHost == "" {
			c.claims.ServiceHost = nodeIP
		}
		if len(list(after[i], "envFrom")) > 0 && len(more) > 1 && !slices.Contains(c.ports, text(more[1].(object), "value")) {
			c.claims.Added.PairPort = text(more[1].(object), "value")
			c.claims.Added.PairContainers = append(c.claims.Added.PairContainers, text(after[i], "name"))
			continue
		}
		if len(more) > 1 {
			c.claims.Added.Port = text(more[1].(object), "value")
		}
		if len(more) > 2 {
			c.claims.Added.PortHTTPS = text(more[2].(object), "value")
		}
	}
}

// takeEnv takes the variables from the front of the containers that are claimed to have them.
func (c *comparison) takeEnv(kind string) error {
	added := &c.claims.Added
	before, after := objects(dict(c.plain, "spec"), kind), objects(dict(c.after, "spec"), kind)
	if len(before) != len(after) {
		return fmt.Errorf("%d %s became %d", len(before), kind, len(after))
	}
	for i, container := range after {
		name := text(container, "name")
		if !slices.Contains(added.Containers, name) {
			continue
		}
		if !slices.Contains(c.hosts, c.claims.ServiceHost) || added.Port != "" && !slices.Contains(c.ports, added.Port) || added.PortHTTPS != added.Port {
			return fmt.Errorf("the host %q with port %q is none of the policy's", c.claims.ServiceHost, added.Port)
		}
		for _, v := range objects(before[i], "env") {
			if slices.Contains([]string{hostName, portName, httpsName}, text(v, "name")) {
				return fmt.Errorf("container %s chooses its API server itself, and got another", name)
			}
		}
		host := object{"name": hostName, "value": c.claims.ServiceHost}
		if c.claims.ServiceHost == nodeIP {
			host = object{"name": hostName, "valueFrom": object{"fieldRef": object{"apiVersion": "v1", "fieldPath": "status.hostIP"}}}
		}
		want, port := []any{host}, added.Port
		if slices.Contains(added.PairContainers, name) {
			if port = added.PairPort; port != "443" || added.Port != "" {
				return fmt.Errorf("container %s gets port %q, which is not the Service's", name, port)
			}
		}
		if unseen := len(list(before[i], "envFrom")) > 0; unseen && port == "" || !unseen && port != added.Port {
			return fmt.Errorf("container %s gets port %q, with envFrom: %t", name, port, unseen)
		}
		if port != "" {
			want = append(want, object{"name": portName, "value": port}, object{"name": httpsName, "value": port})
		}
		env := list(container, "env")
		if len(env) < len(want) || !reflect.DeepEqual(env[:len(want)], want) {
			return fmt.Errorf("container %s is said to begin with %v, and has %v", name, want, env)
		}
		setOrDelete(container, "env", env[len(want):])
	}
	return nil
}

func setOrDelete(in object, key string, values []any) {
	if len(values) == 0 {
		delete(in, key)
		return
	}
	in[key] = values
}

// takeDNS takes out what is claimed of DNS, and wants it to be where DNS may be changed.
func (c *comparison) takeDNS() error {
	added := &c.claims.Added
	plain, after := dict(c.plain, "spec"), dict(c.after, "spec")
	if reflect.DeepEqual(plain["dnsConfig"], after["dnsConfig"]) && plain["dnsPolicy"] == after["dnsPolicy"] {
		if c.claims.DNS == "NodeLocal" || len(added.Options)+added.Nameservers+added.Searches+len(added.ExtraSearches) > 0 {
			return errors.New("the record claims DNS that is not on the pod")
		}
		return nil
	}
	switch dnsPolicy := text(plain, "dnsPolicy"); {
	case text(dict(plain, "os"), "name") == "windows", text(dict(plain, "nodeSelector"), "kubernetes.io/os") == "windows":
		return errors.New("the DNS of a Windows pod is changed")
	case dnsPolicy == "None", dnsPolicy == "Default":
		return fmt.Errorf("DNS is changed under dnsPolicy %s", dnsPolicy)
	case plain["hostNetwork"] == true && dnsPolicy != "ClusterFirstWithHostNet":
		return errors.New("DNS is changed where the pod has its node's")
	}
	config := dict(after, "dnsConfig")
	if config == nil {
		return errors.New("dnsConfig is gone")
	}
	if added.DNSPolicy != nil {
		if text(after, "dnsPolicy") != "None" || *added.DNSPolicy != text(plain, "dnsPolicy") {
			return fmt.Errorf("dnsPolicy %q became %q, and the record says it was %q", plain["dnsPolicy"], after["dnsPolicy"], *added.DNSPolicy)
		}
		delete(after, "dnsPolicy")
		if plain["dnsPolicy"] != nil {
			after["dnsPolicy"] = plain["dnsPolicy"]
		}
	}
	if err := c.takeExtraSearches(plain, config); err != nil {
		return err
	}
	for _, front := range []struct {
		key     string
		n       int
		moved   [][2]int
		allowed []string
	}{
		{"nameservers", added.Nameservers, added.UserNameservers, c.nameservers},
		{"searches", added.Searches, added.UserSearches, c.allSearches()},
	} {
		values := list(config, front.key)
		if front.n < 0 || front.n > len(values) {
			return fmt.Errorf("the record claims %d of %d %s", front.n, len(values), front.key)
		}
		for _, value := range values[:front.n] {
			if !slices.Contains(front.allowed, value.(string)) {
				return fmt.Errorf("%s of %s are not the policy's", value, front.key)
			}
		}
		user, moved := slices.Clone(values[front.n:]), slices.Clone(front.moved)
		slices.SortFunc(moved, func(a, b [2]int) int { return a[1] - b[1] })
		for _, m := range moved {
			if m[0] < 0 || m[0] >= front.n || m[1] < 0 || m[1] > len(user) {
				return fmt.Errorf("the record claims that %s %v are the user's", front.key, m)
			}
			user = slices.Insert(user, m[1], values[m[0]])
		}
		if doubled(values, list(dict(plain, "dnsConfig"), front.key)) {
			return fmt.Errorf("%s are written twice: %v", front.key, values)
		}
		setOrDelete(config, front.key, user)
	}
	if err := c.takeOptions(config); err != nil {
		return err
	}
	if added.DNSConfig && plain["dnsConfig"] == nil && len(config) == 0 {
		delete(after, "dnsConfig")
	}
	return nil
}

// takeExtraSearches takes out the claimed searches of mode Options.
func (c *comparison) takeExtraSearches(plain, config object) error {
	user, values := list(dict(plain, "dnsConfig"), "searches"), slices.Clone(list(config, "searches"))
	for _, search := range c.claims.Added.ExtraSearches {
		at := slices.Index(values, any(search))
		if at < 0 || slices.Contains(user, any(search)) || !slices.Contains(c.searches, search) || c.claims.DNS == "NodeLocal" {
			return fmt.Errorf("the record claims search %s, and the searches are %v, with %v of the user's", search, values, user)
		}
		values = slices.Delete(values, at, at+1)
	}
	if len(c.claims.Added.ExtraSearches) > 0 {
		setOrDelete(config, "searches", values)
	}
	return nil
}

// doubled reports whether a value is in a list twice that the user wrote less often.
func doubled(values, user []any) bool {
	for _, value := range values {
		count := func(list []any) (n int) {
			for _, other := range list {
				if other == value {
					n++
				}
			}
			return n
		}
		if n := count(values); n > 1 && n > count(user) {
			return true
		}
	}
	return false
}

func (c *comparison) allSearches() []string {
	all := slices.Clone(c.searches)
	for _, domain := range c.domains {
		all = append(all, c.namespace+".svc."+domain, "svc."+domain, domain)
	}
	return all
}

// takeOptions takes the claimed options, which are after the user's.
func (c *comparison) takeOptions(config object) error {
	names := c.claims.Added.Options
	options := objects(config, "options")
	user := len(options) - len(names)
	if user < 0 {
		return fmt.Errorf("the record claims %d of %d options", len(names), len(options))
	}
	for i, option := range options[user:] {
		name, value := text(option, "name"), text(option, "value")
		written := name
		if value != "" {
			written += ":" + value
		}
		fromPod := text(dict(dict(c.plain, "metadata"), "annotations"), "shorthop.dev/dns-options")
		if name != names[i] || name != "ndots" && !slices.Contains(c.options, written) && !slices.Contains(strings.Fields(fromPod), written) {
			return fmt.Errorf("the option %q is neither the policy's nor the pod's, or not the one that the record claims", written)
		}
		for _, own := range options[:user] {
			if text(own, "name") == name {
				return fmt.Errorf("option %s is the user's", name)
			}
		}
	}
	setOrDelete(config, "options", list(config, "options")[:user])
	return nil
}

// checkUndo wants Undo of the pod to be the pod without us, as far as Shorthop reads it.
func checkUndo(plain, after []byte) error {
	before, err := readPod(plain)
	if err != nil {
		return err
	}
	ours, err := readPod(after)
	if err != nil {
		return err
	}
	delete(before.Metadata.Annotations, recordKey)
	delete(before.Metadata.Labels, pinnedKey)
	// The API server's: two namespaces, and names that it has completed.
	before.Metadata.Namespace, before.Metadata.Name = ours.Metadata.Namespace, ours.Metadata.Name
	if diff := cmp.Diff(before, mutate.Undo(ours), cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("Undo is not the pod (-pod +undone):\n%s", diff)
	}
	return nil
}

func readPod(text []byte) (*policy.Pod, error) {
	pod := new(policy.Pod)
	if err := json.Unmarshal(text, pod); err != nil {
		return nil, err
	}
	return pod, nil
}

// tokenVolume is the volume that the API server adds, under a name with a random end.
var tokenVolume = regexp.MustCompile(`"kube-api-access-[a-z0-9]{5}"`)

// comparablePod is an admitted pod without what differs between any two that the API server makes of one manifest.
func comparablePod(admitted []byte) (object, error) {
	pod, err := decode(tokenVolume.ReplaceAll(admitted, []byte(`"kube-api-access"`)))
	if err != nil {
		return nil, err
	}
	metadata := dict(pod, "metadata")
	maps.DeleteFunc(metadata, func(key string, _ any) bool {
		return slices.Contains([]string{"namespace", "uid", "resourceVersion", "creationTimestamp", "managedFields"}, key)
	})
	if metadata["generateName"] != nil {
		delete(metadata, "name")
	}
	for _, condition := range objects(dict(pod, "status"), "conditions") {
		delete(condition, "lastTransitionTime")
	}
	return pod, nil
}
