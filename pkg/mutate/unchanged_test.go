package mutate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// object is a JSON object as the standard library decodes it, with numbers
// left as they are written.
type object = map[string]any

func toObject(document []byte) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var o object
	err := decoder.Decode(&o)
	return o, err
}

// userPartUnchanged takes out of the patched pod what the decision says must
// have been added, by value, and compares all of the rest with the pod before.
func userPartUnchanged(beforeJSON, afterJSON []byte, d *policy.Decision, namespace string) error {
	before, err := toObject(beforeJSON)
	if err != nil {
		return err
	}
	after, err := toObject(afterJSON)
	if err != nil {
		return err
	}
	withoutMetadataKeys(before)
	withoutMetadataKeys(after)
	beforeSpec, _ := before["spec"].(object)
	afterSpec, _ := after["spec"].(object)

	for _, list := range []string{"initContainers", "containers"} {
		beforeList, _ := beforeSpec[list].([]any)
		afterList, _ := afterSpec[list].([]any)
		for i := range min(len(beforeList), len(afterList)) {
			was, is := asObject(beforeList[i]), asObject(afterList[i])
			wasEnv, isEnv := listIn(was, "env"), listIn(is, "env")
			if ours := append(expectedVariables(&d.ServiceHost, was, is), expectedResOptions(d, was)...); len(ours) > 0 {
				if len(isEnv) < len(ours) || !reflect.DeepEqual(isEnv[:len(ours)], ours) {
					return fmt.Errorf("%s[%d].env does not begin with %v: %v", list, i, ours, isEnv)
				}
				isEnv = isEnv[len(ours):]
			}
			setList(was, "env", wasEnv)
			setList(is, "env", isEnv)
		}
	}
	if err := withoutDNS(beforeSpec, afterSpec, &d.DNS, namespace); err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return fmt.Errorf("something of the user's changed:\nbefore: %s\nafter:  %s", beforeJSON, afterJSON)
	}
	return nil
}

// withoutMetadataKeys takes out the two keys that are ours, and the maps where
// nothing is left.
func withoutMetadataKeys(pod object) {
	metadata := asObject(pod["metadata"])
	for field, key := range map[string]string{"labels": policy.LabelPinned, "annotations": policy.AnnotationInjected} {
		values := asObject(metadata[field])
		delete(values, key)
		if len(values) == 0 {
			delete(metadata, field)
		}
	}
}

// withoutDNS takes what was added out of the patched spec.
func withoutDNS(before, after object, d *policy.DNSDecision, namespace string) error {
	was, had := before["dnsConfig"].(object)
	is, has := after["dnsConfig"].(object)
	var servers, searches, extra, options []any
	if d.Injects() {
		if d.Mode == policy.DNSModeOptions {
			extra = toList(d.ExtraSearches)
		}
		set := listIn(was, "options")
		for _, option := range d.Options {
			if slices.ContainsFunc(set, func(o any) bool { return setsOption(asObject(o), option.Name) }) {
				continue
			}
			added := object{"name": option.Name}
			if option.Value != "" {
				added["value"] = option.Value
			}
			options = append(options, added)
		}
		if d.Mode == policy.DNSModeNodeLocal {
			servers = toList(d.Servers, d.FallbackServers)
			searches = toList([]string{namespace + ".svc." + d.Domain, "svc." + d.Domain, d.Domain}, d.ExtraSearches)
			if after["dnsPolicy"] != "None" {
				return fmt.Errorf("dnsPolicy is %v in mode NodeLocal", after["dnsPolicy"])
			}
			switch before["dnsPolicy"] {
			case nil, "", "ClusterFirst", "ClusterFirstWithHostNet":
			default:
				return fmt.Errorf("dnsPolicy was %v", before["dnsPolicy"])
			}
			after["dnsPolicy"] = before["dnsPolicy"]
			if _, named := before["dnsPolicy"]; !named {
				delete(after, "dnsPolicy")
			}
		}
	}
	for _, list := range []struct {
		name        string
		front, back []any
	}{{"nameservers", servers, nil}, {"searches", searches, extra}, {"options", nil, options}} {
		want := slices.Concat(once(list.front, listIn(was, list.name)), list.back)
		if got := listIn(is, list.name); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			return fmt.Errorf("dnsConfig.%s is %v, want %v", list.name, got, want)
		}
		// Compared, so the rest of dnsConfig remains.
		delete(was, list.name)
		delete(is, list.name)
	}
	if !had && has && len(is) == 0 {
		delete(after, "dnsConfig")
		delete(before, "dnsConfig")
	}
	return nil
}

// once is the list that begins with front and goes on with the user's entries.
// Of each entry of front there is one, which may be the user's.
func once(front, user []any) []any {
	user = slices.Clone(user)
	var list []any
	for _, value := range front {
		if slices.Contains(list, value) {
			continue
		}
		list = append(list, value)
		if i := slices.Index(user, value); i >= 0 {
			user = slices.Delete(user, i, i+1)
		}
	}
	return append(list, user...)
}

// expectedVariables is what a container gets of the service host. Whether one that names a proxy gets
// anything depends on what the proxy's exceptions are, which the patch shows:
// without it there is RES_OPTIONS at most.
func expectedVariables(d *policy.ServiceHostDecision, was, is object) []any {
	env := listIn(was, "env")
	if !d.Injects() || namesVariable(env) || namesProxy(env) && len(listIn(is, "env"))-len(env) < 2 && !namesVariable(listIn(is, "env")) {
		return nil
	}
	host := object{"name": "KUBERNETES_SERVICE_HOST", "value": d.Host}
	if d.FromNodeIP {
		host = object{
			"name":      "KUBERNETES_SERVICE_HOST",
			"valueFrom": object{"fieldRef": object{"apiVersion": "v1", "fieldPath": "status.hostIP"}},
		}
	}
	port := d.Port
	if port == "" && len(listIn(was, "envFrom")) > 0 {
		port = "443"
	}
	if port == "" {
		return []any{host}
	}
	return []any{
		host,
		object{"name": "KUBERNETES_SERVICE_PORT", "value": port},
		object{"name": "KUBERNETES_SERVICE_PORT_HTTPS", "value": port},
	}
}

// expectedResOptions is what a container gets under the property policies.
func expectedResOptions(d *policy.Decision, was object) []any {
	known := was["image"] == "example.com/team/app:v1.2.3"
	set := slices.ContainsFunc(listIn(was, "env"), func(v any) bool {
		name := asObject(v)["name"]
		return name == "RES_OPTIONS" || name == "LOCALDOMAIN"
	})
	if d.Fallthrough.Carrier != policy.CarrierEnvironment || !known || set || len(listIn(was, "envFrom")) > 0 {
		return nil
	}
	return []any{object{"name": "RES_OPTIONS", "value": fmt.Sprintf("ndots:%d", d.Fallthrough.Ndots)}}
}

func namesProxy(env []any) bool {
	return slices.ContainsFunc(env, func(v any) bool {
		switch asObject(v)["name"] {
		case "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy":
			return true
		}
		return false
	})
}

func namesVariable(env []any) bool {
	return slices.ContainsFunc(env, func(v any) bool {
		name := asObject(v)["name"]
		return name == "KUBERNETES_SERVICE_HOST" || name == "KUBERNETES_SERVICE_PORT" || name == "KUBERNETES_SERVICE_PORT_HTTPS"
	})
}

// setsOption reports whether a resolver finds the option in what kubelet
// writes: the name as it is, and a colon and the value if there is one.
func setsOption(o object, name string) bool {
	line, _ := o["name"].(string)
	for word := range strings.FieldsSeq(line) {
		if word == name || strings.HasPrefix(word, name+":") {
			return true
		}
	}
	return false
}

func asObject(v any) object {
	o, _ := v.(object)
	return o
}

func listIn(o object, key string) []any {
	list, _ := o[key].([]any)
	return list
}

// setList writes a list, and no list where it is empty.
func setList(o object, key string, list []any) {
	if len(list) == 0 {
		delete(o, key)
		return
	}
	o[key] = list
}

func toList(lists ...[]string) []any {
	var joined []any
	for _, list := range lists {
		for _, value := range list {
			joined = append(joined, value)
		}
	}
	return joined
}
